// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

// Guests for a warm start: each makes itself ready, with a table in memory and something in every kind of register that its mode
// has, says so, and then answers its input from what it made. The answer is the square of each byte, modulo 256; then how the
// serial line is set, and what the registers still hold. How often a guest looks for input is all that its steps depend on.

#include "program.h"

TABLE warm

#define SQUARES 0x3000
#define LINE_CONTROL (COM1 + 3)
#define SCRATCH (COM1 + 7)

// Writes a byte to a port: 3 steps. Changes AL and DX.
.macro SEND port:req, value:req
    mov $(\port), %dx
    mov $(\value), %al
    out %al, %dx
.endm

// Prints what a port reads as. Changes AL and DX.
.macro TELL port:req
    mov $(\port), %dx
    in %dx, %al
    mov $COM1, %dx
    out %al, %dx
.endm

// Prints AL, AH and what is above, `count` bytes in all. Changes `rax` and DX.
.macro PRINT_BYTES rax:req, count:req
    mov $COM1, %dx
    .rept \count
    out %al, %dx
    shr $8, \rax
    .endr
.endm

// The table, by a pointer of the mode's width, and the line's settings.
.macro GET_READY pointer:req
    mov $SQUARES, \pointer
    xor %ecx, %ecx
1:  mov %cl, %al
    mul %al
    mov %al, (\pointer)
    inc \pointer
    inc %cl
    jnz 1b
    SEND LINE_CONTROL, 0x9B
    SEND COM1, 0x34
    SEND COM1 + 1, 0x12
    SEND LINE_CONTROL, 0x1B
    SEND SCRATCH, 0x5A
.endm

.macro SAY_READY
    out %al, $READY_PORT
.endm

// Answers all of the input, and tells the line's settings.
// The table by a pointer, and a number in BX by a register of the same width.
.macro ANSWER base:req, pointer:req
    mov $SQUARES, \pointer
    xor %ebx, %ebx
1:  READ_BYTE ended=2f
    mov %al, %bl
    mov (\base,\pointer), %al
    out %al, %dx
    jmp 1b
2:  TELL LINE_CONTROL
    TELL SCRATCH
    SEND LINE_CONTROL, 0x9B
    mov $COM1, %dx
    in %dx, %al
    mov %al, %bl
    inc %dx
    in %dx, %al
    mov %al, %bh
    SEND LINE_CONTROL, 0x1B
    mov %bx, %ax
    PRINT_BYTES %ax, 2
.endm

// The stack, a segment and the interrupt vector table.
GUEST name=warm-real16, mode=REAL16, end=HALTED
    GET_READY %si
    movw $AT(.Lreal_handler), 0x40 * 4
    movw $0, 0x40 * 4 + 2
    mov $0x1357, %ax
    mov %ax, %fs
    push $0x2468
    SAY_READY
    ANSWER %bx, %si
    int $0x40
    mov %fs, %ax
    PRINT_BYTES %ax, 2
    pop %ax
    PRINT_BYTES %ax, 2
    hlt
.Lreal_handler:
    PRINT 'i'
    iret
END

// Debug registers, one of them in force, and a model-specific register.
GUEST name=warm-protected32, mode=PROTECTED32, end=HALTED
    GET_READY %esi
    mov $0x11223344, %eax
    mov %eax, %dr0
    mov $0x55667788, %eax
    mov %eax, %dr3
    mov $0x401, %eax
    mov %eax, %dr7
    mov $0x175, %ecx
    mov $0x99AABBCC, %eax
    xor %edx, %edx
    wrmsr
    SAY_READY
    ANSWER %ebx, %esi
    mov %dr0, %eax
    PRINT_BYTES %eax, 4
    mov %dr3, %eax
    PRINT_BYTES %eax, 4
    mov %dr7, %eax
    PRINT_BYTES %eax, 2
    mov $0x175, %ecx
    rdmsr
    PRINT_BYTES %eax, 4
    hlt
END

// Page tables of its own, through which the table has a second place, the bases of GS, and CR2.
#define ROOT 0x300000
#define SECOND 0x8000000000
GUEST name=warm-long64, mode=LONG64, end=HALTED
    GET_READY %rsi
    mov %cr3, %rdi
    mov (%rdi), %rax
    mov %rax, ROOT
    mov %rax, ROOT + 8
    mov $ROOT, %edi
    mov %rdi, %cr3
    mov $0xC0000102, %ecx
    mov $0x13572468, %eax
    mov $0x1, %edx
    wrmsr
    mov $0x1234567, %eax
    mov %rax, %cr2
    SAY_READY
    ANSWER %rbx, %rsi
    movabs $(SECOND + SQUARES), %rsi
    mov 5(%rsi), %al
    PRINT_BYTES %rax, 1
    mov $0xC0000102, %ecx
    rdmsr
    mov %edx, %ebx
    PRINT_BYTES %rax, 4
    mov %rbx, %rax
    PRINT_BYTES %rax, 4
    mov %cr2, %rax
    PRINT_BYTES %rax, 4
    hlt
END

// x87 and SSE state, and the stack.
GUEST name=warm-user64, mode=USER64, end=EXITED, code=0
    GET_READY %rsi
    fninit
    fldpi
    fld1
    movl $0x0000077F, SQUARES + 0x100
    fldcw SQUARES + 0x100
    movl $0x00009F80, SQUARES + 0x104
    ldmxcsr SQUARES + 0x104
    movdqu SQUARES + 1, %xmm0
    movdqu SQUARES + 17, %xmm15
    movabs $0x1122334455667788, %rax
    push %rax
    xor %eax, %eax
    SAY_READY
    ANSWER %rbx, %rsi
    pop %rax
    PRINT_BYTES %rax, 8
    fnstcw SQUARES + 0x110
    stmxcsr SQUARES + 0x114
    fstpl SQUARES + 0x118
    fstpl SQUARES + 0x120
    movdqu %xmm0, SQUARES + 0x130
    movdqu %xmm15, SQUARES + 0x140
    mov $(SQUARES + 0x110), %esi
    mov $0x40, %ecx
    mov $COM1, %edx
    rep outsb
    EXIT 0
END

// Says that it is ready at once, then tells whether it is alone: prints a cell of memory that its input's bytes are added to.
GUEST name=warm-counter, mode=REAL16, end=HALTED
    movb $10, SQUARES
    SAY_READY
1:  READ_BYTE ended=2f
    add %al, SQUARES
    jmp 1b
2:  mov SQUARES, %al
    mov $COM1, %dx
    out %al, %dx
    hlt
END

END_TABLE warm
