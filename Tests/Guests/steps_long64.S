// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

// 64-bit programs at ring 0 with a known number of steps.

#include "program.h"

TABLE steps_long64

.macro STEPS name:req, steps:req
    GUEST name=long64-\name, mode=LONG64, end=HALTED, steps=\steps
.endm

#define STOP hlt
#define STOP_STEPS 1
#define AX %rax
#define CX %rcx
#define SI %rsi
#define DI %rdi
#define SOURCE 0x200000
#define TARGET 0x204000
#include "steps_every_mode.h"

#define GATE_BYTES 16
#include "gates.h"

// Pushes what IRETQ pops to go on at a label with the stack as it is: 7 steps. Changes RAX and RBX.
.macro PUSH_FRAME target:req
    mov %rsp, %rbx
    push $0x10
    push %rbx
    push $2
    push $0x08
    lea \target(%rip), %rax
    push %rax
.endm

// Stores and loads outside guest memory.
STEPS mmio, steps=2+(4*100)+1
    mov $NO_MEMORY, %ebx
    mov $100, %ecx
1:  mov %rax, (%rbx)
    mov (%rbx), %rax
    dec %ecx
    jnz 1b
    hlt
END

// REP across memory that is none: an exit for each element, one step for each instruction.
STEPS mmio-rep, steps=7+1
    mov $NO_MEMORY, %edi
    mov $20, %ecx
    rep stosq
    mov $NO_MEMORY, %esi
    mov $20, %ecx
    rep lodsq
    nop
    hlt
END

// Instructions that hold off interrupts for one instruction: each is a step of its own.
STEPS shadow, steps=6
    mov %ss, %eax
    mov %eax, %ss
    nop
    sti
    cli
    hlt
END

// A division by zero whose handler skips it, 100 times. DIV is no step; the handler has 2.
STEPS divide, steps=3+5+1+(5*100)+1
    LOAD_IDT
    HANDLE vector=DIVIDE_ERROR, handler=2f
    mov $100, %ecx
1:  xor %bl, %bl
    div %bl
    dec %ecx
    jnz 1b
    hlt
2:  addq $2, (%rsp)
    iretq
END

// A page fault whose handler drops the error code and skips the load, 100 times.
STEPS page-fault, steps=3+5+2+(5*100)+1
    LOAD_IDT
    HANDLE vector=PAGE_FAULT, handler=2f
    mov $100, %ecx
    movabs $UNMAPPED, %rdi
1:  mov (%rdi), %rax    // 3 bytes
    dec %ecx
    jnz 1b
    hlt
2:  add $8, %rsp
    addq $3, (%rsp)
    iretq
END

// UD2 whose handler prints and halts.
STEPS ud2, steps=3+5+3+1
    LOAD_IDT
    HANDLE vector=INVALID_OPCODE, handler=1f
    ud2
    jmp .
1:  PRINT 'u'
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

// A fault in a handler: UD2 in the handler of a division, both skipped.
STEPS nested-faults, steps=3+(2*5)+1+(1+2+1)+2
    LOAD_IDT
    HANDLE vector=DIVIDE_ERROR, handler=1f
    HANDLE vector=INVALID_OPCODE, handler=2f
    xor %bl, %bl
    div %bl
    nop
    hlt
1:  addq $2, (%rsp)
    ud2
    iretq
2:  addq $2, (%rsp)
    iretq
END

// IRETQ to an ordinary instruction. The software backend runs the two in one go.
STEPS iretq, steps=7+1+3
    PUSH_FRAME target=1f
    iretq
    jmp .
1:  nop
    nop
    hlt
END

// IRETQ to HLT.
STEPS iretq-hlt, steps=7+1+1
    PUSH_FRAME target=1f
    iretq
    jmp .
1:  hlt
END

// IRETQ to an instruction that ends in the byte of HLT but is none.
STEPS iretq-not-hlt, steps=7+1+3
    PUSH_FRAME target=1f
    iretq
    jmp .
1:  mov $0xF4, %al
    nop
    hlt
END

// IRETQ to a jump to one behind the opcode of HLT.
STEPS iretq-past-hlt, steps=7+1+3
    PUSH_FRAME target=1f
    iretq
    jmp .
1:  jmp 2f
    hlt
2:  nop
    hlt
END

// IRETQ to a port write.
STEPS iretq-out, steps=7+1+3
    PUSH_FRAME target=1f
    iretq
    jmp .
1:  out %al, $NO_DEVICE
    nop
    hlt
END

// IRETQ to a REP string instruction.
STEPS iretq-rep, steps=2+7+1+3
    mov $TARGET, %edi
    mov $10, %ecx
    PUSH_FRAME target=1f
    iretq
    jmp .
1:  rep stosb
    nop
    hlt
END

// IRETQ to an instruction that faults, whose handler skips it.
STEPS iretq-fault, steps=3+5+7+1+2+2
    LOAD_IDT
    HANDLE vector=INVALID_OPCODE, handler=2f
    PUSH_FRAME target=1f
    iretq
    jmp .
1:  ud2
    nop
    hlt
2:  addq $2, (%rsp)
    iretq
END

// IRETQ in a loop, to the loop's own end.
STEPS iretq-loop, steps=1+(10*50)+1
    mov $50, %ecx
1:  PUSH_FRAME target=2f
    iretq
    jmp .
2:  dec %ecx
    jnz 1b
    hlt
END

// IRETQ to IRETQ, three deep.
STEPS iretq-chain, steps=(3*7)+3+2
    PUSH_FRAME target=2f
    PUSH_FRAME target=1f
    PUSH_FRAME target=1f
1:  iretq
    jmp .
2:  nop
    hlt
END

// Operand-size, address-size, segment, REX, lock and REP prefixes, and a HLT with several.
STEPS prefixes, steps=8
    mov $0x1234, %ax
    mov %ax, SOURCE
    lock incl SOURCE
    lea 4(%ebx), %ecx
    rep
    nop
    .byte 0x66, 0x67
    nop
    .byte 0x48
    nop
    .byte 0x2E, 0x66, 0x67, 0xF3, 0x48
    hlt
END

// The longest instruction that there is, 15 bytes, twice: the second is a HLT.
STEPS longest, steps=2
    .fill 14, 1, 0x66
    nop
    .fill 14, 1, 0x66
    hlt
END

END_TABLE steps_long64
