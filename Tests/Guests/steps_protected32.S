// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

// 32-bit programs with a known number of steps. The software backend emulates neither INT n nor IRET in this mode, so
// handlers here drop the frame and jump.

#include "program.h"

TABLE steps_protected32

.macro STEPS name:req, steps:req
    GUEST name=protected32-\name, mode=PROTECTED32, end=HALTED, steps=\steps
.endm

#define STOP hlt
#define STOP_STEPS 1
#define AX %eax
#define CX %ecx
#define SI %esi
#define DI %edi
#define SOURCE 0x200000
#define TARGET 0x204000
#include "steps_every_mode.h"

#define GATE_BYTES 8
#include "gates.h"

// Stores and loads outside guest memory.
STEPS mmio, steps=2+(4*100)+1
    mov $NO_MEMORY, %ebx
    mov $100, %ecx
1:  mov %eax, (%ebx)
    mov (%ebx), %eax
    dec %ecx
    jnz 1b
    hlt
END

// REP across memory that is none: an exit for each element, one step for each instruction.
STEPS mmio-rep, steps=7+1
    mov $NO_MEMORY, %edi
    mov $20, %ecx
    rep stosl
    mov $NO_MEMORY, %esi
    mov $20, %ecx
    rep lodsl
    nop
    hlt
END

// Instructions that hold off interrupts for one instruction: each is a step of its own.
STEPS shadow, steps=9
    mov %ss, %eax
    mov %eax, %ss
    nop
    push %ss
    pop %ss
    nop
    sti
    cli
    hlt
END

// A division by zero whose handler goes on behind it, 100 times. DIV is no step; the handler has 2.
STEPS divide, steps=3+5+1+(5*100)+1
    LOAD_IDT
    HANDLE vector=DIVIDE_ERROR, handler=3f
    mov $100, %ecx
1:  xor %bl, %bl
    div %bl
2:  dec %ecx
    jnz 1b
    hlt
3:  add $12, %esp       // EIP, CS, EFLAGS
    jmp 2b
END

// The same with UD2, once.
STEPS ud2, steps=3+5+3
    LOAD_IDT
    HANDLE vector=INVALID_OPCODE, handler=1f
    ud2
    jmp .
1:  nop
    nop
    hlt
END

// A handler that is nothing but HLT, here with a prefix.
STEPS ud2-hlt, steps=3+5+1
    LOAD_IDT
    HANDLE vector=INVALID_OPCODE, handler=1f
    ud2
    jmp .
1:  .byte 0x66
    hlt
END

// A handler whose first instruction ends in the byte of HLT but is none.
STEPS ud2-not-hlt, steps=3+5+3
    LOAD_IDT
    HANDLE vector=INVALID_OPCODE, handler=1f
    ud2
    jmp .
1:  mov $0xF4, %al
    nop
    hlt
END

// A handler whose first instruction jumps to one behind the opcode of HLT.
STEPS ud2-past-hlt, steps=3+5+3
    LOAD_IDT
    HANDLE vector=INVALID_OPCODE, handler=1f
    ud2
    jmp .
1:  jmp 2f
    hlt
2:  nop
    hlt
END

// A general protection fault, which pushes an error code: a segment that the GDT does not have.
STEPS bad-segment, steps=3+5+1+(3+1)
    LOAD_IDT
    HANDLE vector=GENERAL_PROTECTION, handler=2f
    mov $0xFFF8, %ebx
    mov %ebx, %fs
1:  hlt
2:  pop %ebx            // the error code, which is the selector
    add $12, %esp
    jmp 1b
END

// Operand-size, address-size, segment, lock and REP prefixes, and a HLT with several.
STEPS prefixes, steps=8
    mov $0x1234, %ax
    mov %ax, %es:SOURCE
    lock incl %ds:SOURCE
    addr16 lea 4(%bx), %ecx
    rep
    nop
    .byte 0x66, 0x67
    nop
    lodsw
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

END_TABLE steps_protected32
