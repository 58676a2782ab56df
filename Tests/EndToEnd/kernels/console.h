// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

// What the kernels of images.py share: output to port 0xE9, and an end with a code at port 0xF4.

#pragma once

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

static inline void put_byte(char byte) { __asm__ volatile("outb %0, $0xE9" : : "a"(byte)); }

static inline void put(const char *text) {
    while (*text) put_byte(*text++);
}

static inline void put_bytes(const char *bytes, u32 count) {
    while (count--) put_byte(*bytes++);
}

static inline void put_number(u64 number) {
    put("0x");
    int shift = 60;
    while (shift > 0 && (number >> shift & 15) == 0) shift -= 4;
    for (; shift >= 0; shift -= 4) put_byte("0123456789abcdef"[number >> shift & 15]);
}

static inline void put_field(const char *name, u64 number) {
    put(name);
    put_byte(' ');
    put_number(number);
    put_byte('\n');
}

static inline void leave(u8 code) {
    __asm__ volatile("outb %0, $0xF4" : : "a"(code));
    for (;;) __asm__ volatile("hlt");
}

static inline void *address(u32 place) { return (void *)(unsigned long)place; }
