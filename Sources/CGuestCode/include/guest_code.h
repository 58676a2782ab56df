// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

// Code that runs inside the guest beside a Linux program, at the program's own privilege or above: call_page.S and vdso.S. Bytes are
// handed out one by one, so that whoever builds guest memory from them needs no pointer.

#pragma once

#include <stdint.h>

/// Bytes of the page that SYSCALL leads to.
uint32_t guest_call_page_size(void);
/// One of them; 0 behind the end.
uint8_t guest_call_page_byte(uint32_t index);

/// Bytes of the ELF image that C libraries look for clocks in, as Linux has one in every process.
uint32_t guest_vdso_size(void);
/// One of them; 0 behind the end.
uint8_t guest_vdso_byte(uint32_t index);
