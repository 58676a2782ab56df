// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

// An interrupt descriptor table for ring 0, protected or long. The file that includes this defines GATE_BYTES: 8 or 16.
// The gates name the machine's own code segment, 0x08.

#pragma once

#define IDT 0x208000
#define IDTR 0x209000

// Loads an empty IDT for the 32 exceptions: 3 steps. Relies on zeroed memory.
.macro LOAD_IDT
    movw $(32 * GATE_BYTES - 1), IDTR
    movl $IDT, IDTR + 2
    lidt IDTR
.endm

// Points a gate at a label: 5 steps. Changes EAX. The high half of the offset goes in together with the gate's type.
.macro HANDLE vector:req, handler:req
    mov $AT(\handler), %eax
    mov %ax, IDT + GATE_BYTES * \vector
    movw $0x08, IDT + GATE_BYTES * \vector + 2
    mov $0x8E00, %ax
    mov %eax, IDT + GATE_BYTES * \vector + 4
.endm
