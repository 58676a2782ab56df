// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

// Macros for the guest programs, and what these rely on.
//
// The machine. Registers are 0 but for those named here, RFLAGS is 2, memory is 16 MiB of zeros unless a program says
// otherwise. Default load address: 0x1000 in real16, 1 MiB elsewhere; the first instruction is the first byte.
//   real16       Every segment 0, SP = load address, the interrupt vector table at 0 is empty.
//   protected32  Ring 0, CS 0x08, other segments 0x10, all flat; no paging; ESP = end of memory; IDT limit 0.
//   long64       Ring 0, CS 0x08, other segments 0x10; the first 4 GiB mapped to themselves; RSP = end of memory;
//                IDT limit 0. Only integer instructions: the software backend emulates nothing else at ring 0.
//   user64       Ring 3, CS 0x2B, other segments 0x23; mapped likewise, but for SYSTEM_AREA, which is out of reach;
//                RSP = end of memory; every port is open; an exception ends the job.
// Physical addresses that are not memory read as all ones and ignore writes, and so do ports without a device.
//
// A step is one instruction retired: it completed and RIP moved on or was written by it. A string instruction with a
// REP prefix is one step whatever its count, also 0. An instruction that faults is no step; those of its handler are.
// HLT is a step and so is the OUT to the exit port; either is the last.
//
// `steps` of each program is a sum whose terms follow the program from top to bottom, (terms)*n for a loop of n rounds.

#pragma once

#define REAL16 1
#define PROTECTED32 2
#define LONG64 3
#define USER64 4

// See enum guest_end.
#define OPEN 0
#define HALTED 1
#define EXITED 2
#define FAULTED 3
#define TRIPLE_FAULT 4

#define COM1 0x3F8              // transmit and receive
#define COM1_LINE 0x3FD         // line status
#define COM1_LINE_RECEIVED 0x01 // a byte of input waits
#define COM1_MODEM 0x3FE        // modem status
#define COM1_MODEM_CARRIER 0x80 // clear when the input has ended and been read
#define DEBUG_CONSOLE 0xE9
#define EXIT_PORT 0xF4
#define READY_PORT 0xF5
#define NO_DEVICE 0x80          // a port that nothing claims
#define NO_MEMORY 0xD0000000    // a physical address that is never memory: a guest has at most 1 GiB
#define UNMAPPED 0x1000000000   // a linear address without a mapping: only the first 4 GiB have one
#define SYSTEM_AREA 0x90000     // the machine's tables, up to SYSTEM_AREA_END
#define SYSTEM_AREA_END 0xA0000

// Vectors.
#define DIVIDE_ERROR 0
#define DEBUG_EXCEPTION 1
#define BREAKPOINT 3
#define INVALID_OPCODE 6
#define GENERAL_PROTECTION 13
#define PAGE_FAULT 14

// The guest address of a label. 99 is the label of the current guest's first byte.
#define AT(label) (label - 99b + guest_load)

// Opens the table of a file; its name is the file's. The rows are `struct guest`.
.macro TABLE file:req
    .section .data.rel.ro.guests_\file, "aw", @progbits
    .balign 8
    .globl guests_\file
    guests_\file:
    .section .rodata.guest_names, "a", @progbits
    .section .rodata.guest_images, "a", @progbits
    .macro ROW
        .pushsection .data.rel.ro.guests_\file, "aw", @progbits
    .endm
.endm

.macro END_TABLE file:req
    .pushsection .data.rel.ro.guests_\file, "aw", @progbits
    .globl guests_\file\()_end
    guests_\file\()_end:
    .popsection
    .section .note.GNU-stack, "", @progbits
.endm

// Begins a guest: `mode` and `end` by the names above, `code` the exit code or vector, `load` for other than the default.
.macro GUEST name:req, mode:req, end:req, code=0, steps=0, load=0
    .if \load
        .set guest_load, \load
    .elseif \mode == REAL16
        .set guest_load, 0x1000
    .else
        .set guest_load, 0x100000
    .endif
    .pushsection .rodata.guest_names, "a", @progbits
    97: .asciz "\name"
    .popsection
    ROW
    .quad 97b, 99f, 98f - 99f, guest_load, \steps
    .long \mode, \end, \code, 0
    .popsection
    .if \mode == REAL16
        .code16
    .elseif \mode == PROTECTED32
        .code32
    .else
        .code64
    .endif
    .balign 16, 0
    99:
.endm

// Ends a guest begun with GUEST.
.macro END
    98: .code64
.endm

// Writes one character to COM1: 3 steps. Changes AL and DX.
.macro PRINT character:req
    mov $COM1, %dx
    mov $\character, %al
    out %al, %dx
.endm

// Ends the job with a code below 256: 2 steps.
.macro EXIT code:req
    mov $\code, %al
    out %al, $EXIT_PORT
.endm

// Waits until COM1 has a byte of input and reads it into AL. Jumps to `ended` when there is none and none will come.
// That the line is asked first and the carrier second makes it right: the carrier drops when all input has been read.
.macro READ_BYTE ended:req
11: mov $COM1_LINE, %dx
    in %dx, %al
    test $COM1_LINE_RECEIVED, %al
    jnz 12f
    mov $COM1_MODEM, %dx
    in %dx, %al
    test $COM1_MODEM_CARRIER, %al
    jnz 11b
    jmp \ended
12: mov $COM1, %dx
    in %dx, %al
.endm
