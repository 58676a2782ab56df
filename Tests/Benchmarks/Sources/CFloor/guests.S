// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

// The guests of the benchmarks. Position-independent, but for hello, which real16 loads at 0x1000.

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

// Prints "hello\n" on the debug console, as the classic of the project's guest programs does.
GUEST hello
    .code16
    mov $(hello_text - guest_hello + 0x1000), %si
1:  lodsb
    test %al, %al
    jz 2f
    out %al, $0xE9
    jmp 1b
2:  hlt
hello_text:
    .asciz "hello\n"
END hello

// Computes and never ends: two instructions, for the step meters. The same bytes do in every mode but for the width.
GUEST steps
    .code64
1:  dec %ecx
    jnz 1b
    jmp 1b
END steps

// Writes memory in every turn: the stack and a variable.
GUEST calls16
    .code16
1:  call 2f
    dec %cx
    jmp 1b
2:  push %cx
    pop %ax
    incw 0x3000
    ret
END calls16

// Writes to the debug console and never ends, in every mode.
GUEST talk
    .code64
1:  out %al, $0xE9
    jmp 1b
END talk

// Touches one page after another from 2 MiB on, in protected and long mode.
GUEST touch
    .code32
    mov $0x200000, %edi
1:  incb (%edi)
    add $4096, %edi
    jmp 1b
END touch

// Adds one to the first byte of as many pages as ECX says, from 2 MiB on.
GUEST scatter
    .code64
    mov $0x200000, %edi
1:  incb (%rdi)
    add $4096, %edi
    dec %ecx
    jnz 1b
    out %al, $0xF4
END scatter

// Computes for some 30 ms where every instruction is emulated.
GUEST compute16
    .code16
    mov $25000, %cx
1:  dec %cx
    jnz 1b
    hlt
END compute16

// Computes for some 30 ms on a processor.
GUEST compute64
    .code64
    mov $80000000, %ecx
1:  dec %ecx
    jnz 1b
    out %al, $0xF4
END compute64

// 64 * 32 writes to a port that nothing claims.
GUEST writes16
    .code16
    mov $32, %cx
1:  .rept 64
    out %al, $0x80
    .endr
    dec %cx
    jnz 1b
    hlt
END writes16

GUEST writes64
    .code64
    mov $32, %ecx
1:  .rept 64
    out %al, $0x80
    .endr
    dec %ecx
    jnz 1b
    out %al, $0xF4
END writes64

// 64 * 32 bytes for the debug console.
GUEST console16
    .code16
    mov $32, %cx
1:  .rept 64
    out %al, $0xE9
    .endr
    dec %cx
    jnz 1b
    hlt
END console16

// Bytes for the debug console, as many as ECX says.
GUEST chatter16
    .code16
1:  out %al, $0xE9
    dec %ecx
    jnz 1b
    hlt
END chatter16

GUEST chatter64
    .code64
1:  out %al, $0xE9
    dec %ecx
    jnz 1b
    out %al, $0xF4
END chatter64

// Likewise for COM1, asking before each byte whether it may, as drivers do.
.macro POLITE
1:  mov $0x3FD, %edx
2:  in %dx, %al
    test $0x20, %al
    jz 2b
    mov $0x3F8, %edx
    out %al, %dx
    dec %ecx
    jnz 1b
.endm

GUEST polite16
    .code16
    POLITE
    hlt
END polite16

GUEST polite64
    .code64
    POLITE
    xor %eax, %eax
    out %al, $0xF4
END polite64

    .section .note.GNU-stack, "", @progbits
