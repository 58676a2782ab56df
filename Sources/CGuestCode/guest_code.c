// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

#include "guest_code.h"

extern const uint8_t guest_call_page[], guest_call_page_end[], guest_vdso[], guest_vdso_end[];

uint32_t guest_call_page_size(void) { return (uint32_t)(guest_call_page_end - guest_call_page); }

uint8_t guest_call_page_byte(uint32_t index) {
    return index < guest_call_page_size() ? guest_call_page[index] : 0;
}

uint32_t guest_vdso_size(void) { return (uint32_t)(guest_vdso_end - guest_vdso); }

uint8_t guest_vdso_byte(uint32_t index) { return index < guest_vdso_size() ? guest_vdso[index] : 0; }
