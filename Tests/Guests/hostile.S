// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

// Guests that mean no good: they never end, flood the host with exits or output, or look for what an earlier job left.

#include "program.h"

TABLE hostile

#define GATE_BYTES 16
#include "gates.h"

// Endless loops without an exit: only a signal ends KVM_RUN.
GUEST name=real16-spin, mode=REAL16, end=OPEN
    jmp .
END

GUEST name=protected32-spin, mode=PROTECTED32, end=OPEN
    jmp .
END

GUEST name=long64-spin, mode=LONG64, end=OPEN
    jmp .
END

GUEST name=user64-spin, mode=USER64, end=OPEN
    jmp .
END

// Endless loops inside a single instruction on the software backend: its emulator never comes back from these.
GUEST name=real16-int80, mode=REAL16, end=OPEN
    movw $AT(1f), 4 * 0x80
    int $0x80
    hlt
1:  iret
END

GUEST name=long64-vmcall, mode=LONG64, end=OPEN
    vmcall
    hlt
END

// Faults without end: the handler returns to the instruction that faulted. Only its IRETQ is a step.
GUEST name=long64-fault-loop, mode=LONG64, end=OPEN
    LOAD_IDT
    HANDLE vector=INVALID_OPCODE, handler=2f
1:  ud2
2:  iretq
END

// A gigabyte in one instruction, upwards from 2 MiB: a step that takes minutes where it is emulated, and an exit for
// each element beyond guest memory.
GUEST name=protected32-rep-gigabyte, mode=PROTECTED32, end=OPEN
    mov $0x200000, %edi
    mov $0x10000000, %ecx
    rep stosl
    hlt
END

GUEST name=long64-rep-gigabyte, mode=LONG64, end=OPEN
    mov $0x200000, %edi
    mov $0x40000000, %ecx
    rep stosb
    hlt
END

GUEST name=user64-rep-gigabyte, mode=USER64, end=OPEN
    mov $0x200000, %edi
    mov $0x40000000, %ecx
    rep stosb
    EXIT 0
END

// A gigabyte to a port in one instruction, from the image on and then from where there is no memory: an exit for each
// element where KVM does not gather them, and another for each that it reads from nowhere.
GUEST name=protected32-rep-outs-gigabyte, mode=PROTECTED32, end=OPEN
    mov $0x100000, %esi
    mov $0x40000000, %ecx
    mov $NO_DEVICE, %edx
    rep outsb
    hlt
END

GUEST name=user64-rep-outs-gigabyte, mode=USER64, end=OPEN
    mov $0x100000, %esi
    mov $0x40000000, %ecx
    mov $NO_DEVICE, %edx
    rep outsb
    EXIT 0
END

// Port writes without end to a port that nothing claims.
GUEST name=real16-port-flood, mode=REAL16, end=OPEN
1:  out %al, $NO_DEVICE
    inc %al
    jmp 1b
END

GUEST name=user64-port-flood, mode=USER64, end=OPEN
1:  out %al, $NO_DEVICE
    inc %al
    jmp 1b
END

// Stores without end to physical memory that is not there.
GUEST name=protected32-mmio-flood, mode=PROTECTED32, end=OPEN
1:  mov %eax, NO_MEMORY
    inc %eax
    jmp 1b
END

GUEST name=user64-mmio-flood, mode=USER64, end=OPEN
    mov $NO_MEMORY, %ebx
1:  mov %eax, (%rbx)
    inc %eax
    jmp 1b
END

// Console output without end, byte by byte, and in one instruction after another as fast as it can.
GUEST name=real16-output-flood, mode=REAL16, end=OPEN
    mov $COM1, %dx
    mov $'y', %al
1:  out %al, %dx
    jmp 1b
END

GUEST name=user64-output-flood, mode=USER64, end=OPEN
    mov $0x200000, %edi
    mov $4096, %ecx
    mov $'y', %al
    rep stosb
    mov $DEBUG_CONSOLE, %edx
1:  mov $0x200000, %esi
    mov $4096, %ecx
    rep outsb
    jmp 1b
END

// Waits for input for ever, without looking whether any can still come.
GUEST name=real16-input-wait, mode=REAL16, end=OPEN
    mov $COM1_LINE, %dx
1:  in %dx, %al
    test $COM1_LINE_RECEIVED, %al
    jz 1b
    hlt
END

// An instruction that the software backend does not emulate; processors execute it and halt.
GUEST name=long64-cmpxchg16b, mode=LONG64, end=OPEN
    nop
    mov $0x200000, %edi
    cmpxchg16b (%rdi)
    hlt
END

#define MEMORY_END 0x1000000
#define PAGE 4096

// Writes the end of every page of 16 MiB, the machine's tables too, but for its own page.
// Steps: 2 to begin; 5 for each of 4,096 pages, another 1 for the 4,095 that it writes.
GUEST name=scribble, mode=PROTECTED32, end=HALTED, steps=2+(5*4096)+4095+1
    xor %edi, %edi
    mov $0x5EC2E7, %eax
1:  cmp $AT(99b), %edi
    je 2f
    mov %eax, PAGE - 4(%edi)
2:  add $PAGE, %edi
    cmp $MEMORY_END, %edi
    jb 1b
    hlt
END

// Ends with the number of pages whose last 4 bytes are not zero, itself and the machine's tables left out: 0 on a
// machine that has forgotten `scribble`.
// Steps on such a machine: 2 to begin; 9 for each of the 144 pages below the tables and the 16 of the tables, 5 for its
// own page, 11 for each of the other 3,935 pages.
GUEST name=search, mode=PROTECTED32, end=EXITED, code=0, steps=2+9*(144+16)+5+(11*3935)+1
    xor %edi, %edi
    xor %eax, %eax
1:  cmp $AT(99b), %edi
    je 2f
    cmp $SYSTEM_AREA, %edi
    jb 3f
    cmp $SYSTEM_AREA_END, %edi
    jb 2f
3:  cmpl $0, PAGE - 4(%edi)
    je 2f
    inc %eax
2:  add $PAGE, %edi
    cmp $MEMORY_END, %edi
    jb 1b
    out %eax, $EXIT_PORT
END

// Writes over everything at ring 0 of long mode, its own page tables first: how it ends is up to the processor.
GUEST name=long64-scribble, mode=LONG64, end=OPEN
    xor %edi, %edi
    mov $-1, %rax
    mov $0x100000 / 8, %ecx
    rep stosq
    hlt
END

// Touches one page after another, upwards to the end of memory, and then spins: what a memory budget is for. Real mode
// reaches the 240 pages from 64 KiB to 1 MiB.
GUEST name=real16-touch, mode=REAL16, end=OPEN
    mov $0x1000, %ax
1:  mov %ax, %ds
    incb 0
    add $(PAGE / 16), %ax
    jnc 1b
    jmp .
END

.macro TOUCH
    mov $0x200000, %edi
1:  incb (%edi)
    add $PAGE, %edi
    cmp $MEMORY_END, %edi
    jb 1b
    jmp .
.endm

GUEST name=protected32-touch, mode=PROTECTED32, end=OPEN
    TOUCH
END

GUEST name=long64-touch, mode=LONG64, end=OPEN
    TOUCH
END

GUEST name=user64-touch, mode=USER64, end=OPEN
    TOUCH
END

// Leaves a secret in all 16 vector registers and the x87 stack.
GUEST name=fill-vectors, mode=USER64, end=EXITED, code=0, steps=2+15+1+2
    movabs $0x5EC2E75EC2E7, %rax
    movq %rax, %xmm0
    .irp register, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    movdqa %xmm0, %xmm\register
    .endr
    fldpi
    EXIT 0
END

// Ends with a bit for each byte position at which any of these vector registers is not zero: 0 on a fresh machine.
GUEST name=search-vectors, mode=USER64, end=EXITED, code=0, steps=15+6
    .irp register, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    por %xmm\register, %xmm0
    .endr
    pxor %xmm1, %xmm1
    pcmpeqb %xmm0, %xmm1
    pmovmskb %xmm1, %ecx
    xor $0xFFFF, %ecx
    mov %ecx, %eax
    out %eax, $EXIT_PORT
END

// An instruction that its own exception's frame overwrites: RSP, of which the low byte is a HLT, lands on it. The handler is
// IRETQ.
#define CHAIN 0x1100E0
#define CHAIN_STACK 0x1100F4
.macro MAKE_CHAIN
    LOAD_IDT
    HANDLE vector=INVALID_OPCODE, handler=8f
    movw $0x0B0F, CHAIN             // ud2
.endm

// Returns to an address with that stack.
.macro RETURN_TO address:req, stack:req
    push $0x10
    push $\stack
    pushfq
    push $0x08
    push $\address
    iretq
.endm

GUEST name=chain-fault-return-halt, mode=LONG64, end=HALTED
    MAKE_CHAIN
    mov $CHAIN_STACK, %esp
    mov $CHAIN, %eax
    jmp *%rax
8:  iretq
END

GUEST name=chain-return-fault-return-halt, mode=LONG64, end=HALTED
    MAKE_CHAIN
    RETURN_TO address=CHAIN, stack=CHAIN_STACK
8:  iretq
END

// The same where nothing is overwritten.
GUEST name=chain-endless, mode=LONG64, end=OPEN
    MAKE_CHAIN
    RETURN_TO address=CHAIN, stack=0x80000
8:  iretq
END

END_TABLE hostile
