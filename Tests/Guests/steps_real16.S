// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

// Real-mode programs with a known number of steps.

#include "program.h"

TABLE steps_real16

.macro STEPS name:req, steps:req
    GUEST name=real16-\name, mode=REAL16, end=HALTED, steps=\steps
.endm

#define STOP hlt
#define STOP_STEPS 1
#define AX %ax
#define CX %cx
#define SI %si
#define DI %di
#define SOURCE 0x2000
#define TARGET 0x6000
#include "steps_every_mode.h"

// Points an interrupt vector at a label: 2 steps. CS of every handler is 0.
.macro HANDLE vector:req, handler:req
    movw $AT(\handler), 4 * \vector
    movw $0, 4 * \vector + 2
.endm

// Loads and stores at 1 MiB, by way of segment 0xFFFF. In a guest with 1 MiB of memory they go outside of it.
STEPS memory-end, steps=3+(4*100)+1
    mov $0xFFFF, %ax
    mov %ax, %es
    mov $100, %cx
1:  mov %al, %es:0x10
    mov %es:0x10, %al
    dec %cx
    jnz 1b
    hlt
END

// Instructions that hold off interrupts for one instruction: each is a step of its own.
STEPS shadow, steps=9
    mov %ss, %ax
    mov %ax, %ss
    nop
    push %ss
    pop %ss
    nop
    sti
    cli
    hlt
END

// HLT with interrupts enabled ends the job as well: no device interrupts it.
STEPS sti-hlt, steps=2
    sti
    hlt
END

// Far calls and far jumps.
STEPS far, steps=1+(5*100)+1
    mov $100, %cx
1:  lcall $0, $AT(3f)
    ljmp $0, $AT(2f)
2:  dec %cx
    jnz 1b
    hlt
3:  lret
END

// INT n and INT3, each with a handler that only returns.
STEPS int, steps=(2*2)+1+(6*100)+1
    HANDLE vector=0x21, handler=2f
    HANDLE vector=BREAKPOINT, handler=2f
    mov $100, %cx
1:  int $0x21
    int3
    dec %cx
    jnz 1b
    hlt
2:  iret
END

// A division by zero whose handler skips it, 100 times. DIV is no step; the handler has 5.
STEPS divide, steps=2+1+(8*100)+1
    HANDLE vector=DIVIDE_ERROR, handler=2f
    mov $100, %cx
1:  xor %bl, %bl
    div %bl
    dec %cx
    jnz 1b
    hlt
2:  push %bp
    mov %sp, %bp
    addw $2, 2(%bp)
    pop %bp
    iret
END

// A handler that is nothing but HLT.
STEPS divide-hlt, steps=2+1+1
    HANDLE vector=DIVIDE_ERROR, handler=2f
    xor %bl, %bl
    div %bl
    jmp .
2:  hlt
END

// A handler whose first instruction ends in the byte of HLT but is none.
STEPS divide-not-hlt, steps=2+1+3
    HANDLE vector=DIVIDE_ERROR, handler=2f
    xor %bl, %bl
    div %bl
    jmp .
2:  mov $0xF4, %al
    nop
    hlt
END

// Operand-size, address-size, segment, lock and REP prefixes, and a HLT with several.
STEPS prefixes, steps=9
    mov $0x12345678, %eax
    mov $SOURCE, %esi
    mov %eax, (%esi)
    addl $1, %es:(%esi)
    lock incl %ds:SOURCE
    rep
    nop
    lodsl (%esi), %eax
    .byte 0x66, 0x67
    nop
    .byte 0x2E, 0x66, 0x67, 0xF3
    hlt
END

// The longest instruction that there is, 15 bytes, twice: the second is a HLT.
STEPS longest, steps=2
    .fill 14, 1, 0x66
    nop
    .fill 14, 1, 0x66
    hlt
END

END_TABLE steps_real16
