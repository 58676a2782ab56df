// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

// The guests that every introduction to KVM begins with.

#include "program.h"

TABLE classic

// Prints the sum of AL and BL, which the job sets, as one digit: with AX=2 and BX=2 it prints "4\n".
GUEST name=add, mode=REAL16, end=HALTED, steps=7
    mov $COM1, %dx
    add %bl, %al
    add $'0', %al
    out %al, %dx
    mov $'\n', %al
    out %al, %dx
    hlt
END

// Prints "hello\n" on the debug console. A test for NUL before each of its 7 bytes; the last jumps out.
GUEST name=hello, mode=REAL16, end=HALTED, steps=1+(5*6)+3+1
    mov $AT(.Lhello), %si
1:  lodsb
    test %al, %al
    jz 2f
    out %al, $DEBUG_CONSOLE
    jmp 1b
2:  hlt
.Lhello:
    .asciz "hello\n"
END

// A boot sector: 512 bytes that end in 55 AA. Sets up DS and a stack as a careful one does, and prints "boot\n".
GUEST name=boot-sector, mode=REAL16, end=HALTED, steps=7+(4*5)+2, load=0x7C00
    cli
    xor %ax, %ax
    mov %ax, %ds
    mov %ax, %ss
    mov $0x7C00, %sp
    mov $AT(.Lboot), %si
    mov $COM1, %dx
1:  lodsb
    out %al, %dx
    cmp $'\n', %al
    jne 1b
    cli
    hlt
.Lboot:
    .ascii "boot\n"
    .org 99b + 510
    .byte 0x55, 0xAA
END

END_TABLE classic
