// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

// 64-bit programs at ring 3 with a known number of steps. Each ends with code 0 at the exit port.

#include "program.h"

TABLE steps_user64

.macro STEPS name:req, steps:req
    GUEST name=user64-\name, mode=USER64, end=EXITED, code=0, steps=\steps
.endm

#define STOP EXIT 0
#define STOP_STEPS 2
#define AX %rax
#define CX %rcx
#define SI %rsi
#define DI %rdi
#define SOURCE 0x200000
#define TARGET 0x204000
#include "steps_every_mode.h"

// Stores and loads outside guest memory.
STEPS mmio, steps=2+(4*100)+2
    mov $NO_MEMORY, %ebx
    mov $100, %ecx
1:  mov %rax, (%rbx)
    mov (%rbx), %rax
    dec %ecx
    jnz 1b
    EXIT 0
END

// MOV SS, which holds off the trap of a single step by one instruction: still a step of its own.
STEPS shadow, steps=2+(3*100)+2
    mov %ss, %eax
    mov $100, %ecx
1:  mov %eax, %ss
    dec %ecx
    jnz 1b
    EXIT 0
END

// MOV SS before an instruction that exits, and before another MOV SS.
STEPS shadow-out, steps=5+2
    mov %ss, %eax
    mov %eax, %ss
    out %al, $NO_DEVICE
    mov %eax, %ss
    mov %eax, %ss
    EXIT 0
END

// MOV SS and a jump back to it, so that RIP is where it was when the trap comes.
STEPS shadow-jump, steps=2+(2*100)+2
    mov %ss, %eax
    mov $100, %ecx
1:  mov %eax, %ss
    loop 1b
    EXIT 0
END

// Vector registers of 128 bits.
STEPS sse, steps=3+(4*100)+2
    mov $100, %ecx
    movq %rcx, %xmm0
    pxor %xmm1, %xmm1
1:  paddq %xmm0, %xmm1
    mulsd %xmm1, %xmm1
    dec %ecx
    jnz 1b
    EXIT 0
END

// Vector registers of 256 bits. Needs AVX2 of the host.
STEPS avx, steps=3+(3*100)+1+2
    mov $100, %ecx
    vmovd %ecx, %xmm0
    vpbroadcastd %xmm0, %ymm1
1:  vpaddd %ymm1, %ymm0, %ymm0
    dec %ecx
    jnz 1b
    vzeroupper
    EXIT 0
END

// Operand-size, address-size, REX, segment, lock and REP prefixes.
STEPS prefixes, steps=7+2
    mov $0x1234, %ax
    mov %ax, SOURCE
    lock incl SOURCE
    lea 4(%ebx), %ecx
    rep
    nop
    .byte 0x66, 0x67
    nop
    .byte 0x2E, 0x48
    nop
    EXIT 0
END

END_TABLE steps_user64
