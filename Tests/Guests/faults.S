// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

// Guests that end in an exception. Those that would live on say so with exit code 1.

#include "program.h"

TABLE faults

// In real mode with a vector table that has no entries and is not in memory either: the software backend does not look
// at the limit.
GUEST name=real16-triple-fault, mode=REAL16, end=TRIPLE_FAULT, steps=2
    lidtl AT(1f)
    xor %bl, %bl
    div %bl
    EXIT 1
1:  .word 0
    .long NO_MEMORY
END

// Elsewhere the IDT has no entries from the start: any exception will do.
GUEST name=protected32-triple-fault, mode=PROTECTED32, end=TRIPLE_FAULT, steps=1
    nop
    ud2
    EXIT 1
END

GUEST name=long64-triple-fault, mode=LONG64, end=TRIPLE_FAULT, steps=1
    nop
    ud2
    EXIT 1
END

.macro FAULT name:req, vector:req, steps=0
    GUEST name=user64-\name, mode=USER64, end=FAULTED, code=\vector, steps=\steps
.endm

// A store above the mapped 4 GiB.
FAULT unmapped-store, vector=PAGE_FAULT, steps=1
    movabs $UNMAPPED, %rbx
    movb $1, (%rbx)
    EXIT 1
END

// A load from the machine's tables.
FAULT system-load, vector=PAGE_FAULT, steps=1
    nop
    mov SYSTEM_AREA, %al
    EXIT 1
END

// A store to the last byte of the machine's tables.
FAULT system-store, vector=PAGE_FAULT, steps=1
    nop
    movb $1, SYSTEM_AREA_END - 1
    EXIT 1
END

// A jump to where nothing is mapped. The jump itself is a step: it wrote RIP; the fetch faults.
FAULT jump-nowhere, vector=PAGE_FAULT, steps=2
    movabs $UNMAPPED, %rbx
    jmp *%rbx
    EXIT 1
END

// A load from an address that no page table can map, since its upper bits differ.
FAULT non-canonical, vector=GENERAL_PROTECTION, steps=1
    movabs $0x800000000000, %rbx
    mov (%rbx), %al
    EXIT 1
END

// A push on a stack at address 0: it wraps to the top of the address space, which is not mapped.
FAULT bad-stack, vector=PAGE_FAULT, steps=1
    xor %esp, %esp
    push %rax
    EXIT 1
END

// An opcode that is defined to be undefined.
FAULT ud2, vector=INVALID_OPCODE, steps=1
    nop
    ud2
    EXIT 1
END

FAULT divide, vector=DIVIDE_ERROR, steps=1
    xor %bl, %bl
    div %bl
    EXIT 1
END

// A trap: the saved RIP is behind it, and by program.h's definition it is a step.
FAULT int3, vector=BREAKPOINT, steps=2
    nop
    int3
    EXIT 1
END

// The processor raises #GP, since the gate does not admit ring 3; the software backend raises #UD.
GUEST name=user64-int80, mode=USER64, end=OPEN
    int $0x80
    EXIT 1
END

// Instructions of ring 0.
FAULT hlt, vector=GENERAL_PROTECTION, steps=1
    nop
    hlt
    EXIT 1
END

FAULT cli, vector=GENERAL_PROTECTION, steps=1
    nop
    cli
    EXIT 1
END

FAULT mov-cr3, vector=GENERAL_PROTECTION, steps=1
    nop
    mov %rax, %cr3
    EXIT 1
END

// A null pointer: page 0 is not there.
FAULT null-store, vector=PAGE_FAULT, steps=1
    xor %eax, %eax
    movb $1, (%rax)
    EXIT 1
END

// Its own trap flag, which the exception behind the nop reports. A counter that steps by this flag cannot tell.
FAULT trap-flag, vector=DEBUG_EXCEPTION
    pushf
    orl $0x100, (%rsp)
    popf
    nop
    EXIT 1
END

END_TABLE faults
