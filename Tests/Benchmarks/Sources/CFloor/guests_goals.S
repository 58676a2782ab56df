// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

// The guests of the goals, position-independent.

    .section .rodata
    .macro GUEST name
        .globl guest_\name
        guest_\name:
    .endm
    .macro END name
        .globl guest_\name\()_end
        guest_\name\()_end:
        .code64
    .endm

// Writes a byte to each page of the third mebibyte, and exits with 0. At ring 3.
GUEST write_mebibyte
    .code64
    mov $0x200000, %edi
1:  incb (%rdi)
    add $4096, %edi
    cmp $0x300000, %edi
    jb 1b
    xor %eax, %eax
    out %al, $0xF4
END write_mebibyte

// Writes 64 * 256 bytes to COM1, and ends: with HLT, or at ring 3 with 0 for the exit port.
GUEST print16
    .code16
    mov $0x3F8, %dx
    mov $256, %cx
1:  .rept 64
    out %al, %dx
    .endr
    dec %cx
    jnz 1b
    hlt
END print16

GUEST print64
    .code64
    mov $0x3F8, %edx
    mov $256, %ecx
    xor %eax, %eax
1:  .rept 64
    out %al, %dx
    .endr
    dec %ecx
    jnz 1b
    out %al, $0xF4
END print64

    .section .note.GNU-stack, "", @progbits
