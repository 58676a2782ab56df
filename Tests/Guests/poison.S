// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

// Guests that write all they can reach, for tests that look for what is left of it. How far each comes is up to the
// processor: what one cannot write is skipped over, or ends it, and the tests ask for what must have been written.

#include "program.h"

TABLE poison

#define GATE_BYTES 16
#include "gates.h"

#define SECRET 0x5EC2E75EC2E7
#define SECRET32 0x5EC2E7
#define PAGE 4096
#define MEMORY_END 0x400000 // these guests are given 4 MiB

// An instruction that may fault: the handler of all faults goes on behind it. Changes R15.
.macro TRY instruction:vararg
    lea 77f(%rip), %r15
    \instruction
77:
.endm

// WRMSR that may fault. Changes RAX, RCX, RDX and R15.
.macro WRITE_MSR number:req, value:req
    mov $(\value & 0xFFFFFFFF), %eax
    mov $(\value >> 32), %edx
    mov $\number, %ecx
    TRY wrmsr
.endm

.macro FILL_GENERAL
    movabs $SECRET, %rax
    .irp register, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15
    mov %rax, %\register
    .endr
.endm

// Ring 0: debug and control registers, XCR0, the task priority, tables, model-specific registers within the filter and
// without, memory at the end of every page but its own and the machine's tables; then the general registers and flags.
// The memory types, the machine-check banks and KVM's own registers are those that a kernel may leave out of its lists.
GUEST name=poison-long64, mode=LONG64, end=HALTED
    LOAD_IDT
    HANDLE vector=GENERAL_PROTECTION, handler=8f
    HANDLE vector=INVALID_OPCODE, handler=9f
    xor %edi, %edi
1:  cmp $SYSTEM_AREA, %edi
    jb 2f
    cmp $SYSTEM_AREA_END, %edi
    jb 3f
2:  movl $SECRET32, PAGE - 4(%rdi)
3:  add $PAGE, %edi
    cmp $MEMORY_END, %edi
    jb 1b
    // Breakpoint 0 stands at the first instruction of a real-mode job and is on.
    mov $0x1000, %eax
    mov %rax, %dr0
    movabs $SECRET, %rax
    mov %rax, %dr1
    mov %rax, %dr2
    mov %rax, %dr3
    mov %rax, %cr2
    mov $0xFFFF0FF5, %eax
    TRY mov %rax, %dr6
    mov $0x402, %eax
    TRY mov %rax, %dr7
    mov $5, %eax
    TRY mov %rax, %cr8
    mov %cr4, %rax
    or $0x40688, %rax               // OSXSAVE, OSXMMEXCPT, OSFXSR, PGE, DE
    TRY mov %rax, %cr4
    mov %cr0, %rax
    or $0x50020, %rax               // AM, WP, NE
    TRY mov %rax, %cr0
    mov %cr3, %rax
    or $0x18, %rax                  // PCD, PWT
    TRY mov %rax, %cr3
    mov $7, %eax
    xor %edx, %edx
    xor %ecx, %ecx
    TRY xsetbv
    WRITE_MSR 0x174, 0x5EC2E4
    WRITE_MSR 0x175, SECRET
    WRITE_MSR 0x176, SECRET
    WRITE_MSR 0x277, 0x0007010600070106
    WRITE_MSR 0xC0000081, SECRET
    WRITE_MSR 0xC0000082, SECRET
    WRITE_MSR 0xC0000083, SECRET
    WRITE_MSR 0xC0000084, SECRET32
    WRITE_MSR 0xC0000100, SECRET
    WRITE_MSR 0xC0000101, SECRET
    WRITE_MSR 0xC0000102, SECRET
    WRITE_MSR 0xC0000080, 0xD01     // NXE, LMA, LME, SCE
    WRITE_MSR 0x3B, SECRET32
    WRITE_MSR 0x140, 1
    WRITE_MSR 0x200, 6
    WRITE_MSR 0x201, 0x800
    WRITE_MSR 0x20E, 6
    WRITE_MSR 0x250, 0x0606060606060606
    WRITE_MSR 0x258, 0x0606060606060606
    WRITE_MSR 0x268, 0x0606060606060606
    WRITE_MSR 0x2FF, 0xC06
    WRITE_MSR 0x402, SECRET
    WRITE_MSR 0x403, SECRET
    WRITE_MSR 0x406, SECRET
    WRITE_MSR 0xC0000103, SECRET32
    WRITE_MSR 0x4B564D00, 0x300000  // the wall clock, in a page of its own
    WRITE_MSR 0x4B564D01, 0x301001  // the clock
    WRITE_MSR 0x4B564D03, 0x302001  // steal time
    WRITE_MSR 0x4B564D04, 0x303001  // the end of an interrupt
    WRITE_MSR 0x4B564D02, 0x304001  // asynchronous page faults
    WRITE_MSR 0x4B564D05, 0
    // Another GDT limit, an IDT elsewhere, and null selectors.
    sgdt IDTR
    addw $0x100, IDTR
    lgdt IDTR
    xor %eax, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %gs
    lldt %ax
    FILL_GENERAL
    pushq $0x244ED7                 // ID, AC, NT, the directions and conditions, IF
    popfq
    hlt
8:  add $8, %rsp                    // the error code
9:  mov %r15, (%rsp)
    iretq
END

// Ring 3: general registers, x87, SSE, and what goes with them.
GUEST name=poison-user64, mode=USER64, end=EXITED, code=0xE7
    movabs $SECRET, %rax
    movq %rax, %xmm0
    .irp register, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    movdqa %xmm0, %xmm\register
    .endr
    fldpi
    fldpi
    movl $0x0B7F, 0x200000
    fldcw 0x200000
    movl $0x9F80, 0x200000
    ldmxcsr 0x200000
    FILL_GENERAL
    out %al, $EXIT_PORT
END

// Ring 3: the same and the upper halves of YMM, where there are any.
GUEST name=poison-avx, mode=USER64, end=EXITED, code=0xE7
    movabs $SECRET, %rax
    movq %rax, %xmm0
    vpunpcklqdq %xmm0, %xmm0, %xmm0
    .irp register, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    vinsertf128 $1, %xmm0, %ymm0, %ymm\register
    .endr
    out %al, $EXIT_PORT
END

// Ring 3: all of ZMM and the masks, where there are any.
GUEST name=poison-avx512, mode=USER64, end=EXITED, code=0xE7
    movabs $SECRET, %rax
    .irp register, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    vpbroadcastq %rax, %zmm\register
    .endr
    .irp register, 0, 1, 2, 3, 4, 5, 6, 7
    kmovq %rax, %k\register
    .endr
    out %al, $EXIT_PORT
END

// Ring 3: the bases of FS and GS, where a program may set them.
GUEST name=poison-fsgsbase, mode=USER64, end=EXITED, code=0xE7
    movabs $SECRET, %rax
    wrfsbase %rax
    wrgsbase %rax
    out %al, $EXIT_PORT
END

// A triple fault, with every segment somewhere else, in the middle of real mode.
GUEST name=poison-real16, mode=REAL16, end=TRIPLE_FAULT
    mov $0x5EC2, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %fs
    mov %ax, %gs
    mov %ax, %ss
    mov $0xE700, %sp
    lidt %cs:AT(1f)
    ud2
1:  .word 0
    .long SECRET32
END

// Paging on, by one large page whose entry it puts at 0x180000, where the processor has that in this mode.
GUEST name=poison-protected32, mode=PROTECTED32, end=HALTED
    movl $0x83, 0x180000
    mov %cr4, %eax
    or $0x10, %eax
    mov %eax, %cr4
    mov $0x180000, %eax
    mov %eax, %cr3
    mov %cr0, %eax
    or $0x80000000, %eax
    mov %eax, %cr0
    mov $SECRET32, %eax
    mov %eax, %ecx
    mov %eax, %edx
    mov %eax, %ebx
    hlt
END

// Its own first page mapped elsewhere, by the table where user64 has that of the first 2 MiB, and used so at ring 3.
#define SYSTEM_DIRECTORY 0x99000
#define SYSTEM_TABLE 0x9D000
#define COPY 0x300000
GUEST name=poison-tables, mode=LONG64, end=EXITED, code=0xE7
    mov $AT(99b), %esi
    mov $COPY, %edi
    mov $(PAGE / 8), %ecx
    rep movsq
    mov $7, %eax
    xor %ecx, %ecx
1:  mov %rax, SYSTEM_TABLE(, %rcx, 8)
    add $PAGE, %rax
    inc %ecx
    cmp $512, %ecx
    jb 1b
    movq $(COPY + 7), SYSTEM_TABLE + AT(99b) / PAGE * 8
    movq $(SYSTEM_TABLE + 7), SYSTEM_DIRECTORY
    push $0x23
    push $0x80000
    pushfq
    push $0x2B
    push $AT(2f)
    iretq
2:  mov $0xE7, %al
    out %al, $EXIT_PORT
END

// Tells all that ring 0 reads: its registers as they are at the start in memory from 2 MiB on, then debug and control
// registers, then model-specific registers. What cannot be read leaves what was there.
#define TOLD 0x200000
.macro READ_MSR number:req
    mov $\number, %ecx
    xor %eax, %eax
    xor %edx, %edx
    TRY rdmsr
    mov %eax, (%rdi)
    mov %edx, 4(%rdi)
    add $8, %edi
.endm

GUEST name=probe-long64, mode=LONG64, end=HALTED
    mov %rax, TOLD
    mov %rbx, TOLD + 8
    mov %rcx, TOLD + 16
    mov %rdx, TOLD + 24
    mov %rsi, TOLD + 32
    mov %rdi, TOLD + 40
    mov %rbp, TOLD + 48
    mov %rsp, TOLD + 56
    mov %r8, TOLD + 64
    mov %r9, TOLD + 72
    mov %r10, TOLD + 80
    mov %r11, TOLD + 88
    mov %r12, TOLD + 96
    mov %r13, TOLD + 104
    mov %r14, TOLD + 112
    mov %r15, TOLD + 120
    pushfq
    LOAD_IDT
    HANDLE vector=GENERAL_PROTECTION, handler=8f
    HANDLE vector=INVALID_OPCODE, handler=9f
    mov $(TOLD + 128), %edi
    .irp register, dr0, dr1, dr2, dr3, dr6, dr7, cr0, cr2, cr3, cr4, cr8
    mov %\register, %rax
    mov %rax, (%rdi)
    add $8, %edi
    .endr
    sgdt (%rdi)
    .irp register, ds, es, fs, gs, ss
    mov %\register, %ax
    mov %ax, 10(%rdi)
    add $2, %edi
    .endr
    add $32, %edi
    .irp number, 0x174, 0x175, 0x176, 0x277, 0xC0000080, 0xC0000081, 0xC0000082, 0xC0000083, 0xC0000084, 0xC0000100, 0xC0000101, 0xC0000102
    READ_MSR \number
    .endr
    .irp number, 0x3B, 0x140, 0x200, 0x201, 0x20E, 0x250, 0x258, 0x268, 0x2FF, 0x402, 0x403, 0x406, 0xC0000103
    READ_MSR \number
    .endr
    .irp number, 0x4B564D00, 0x4B564D01, 0x4B564D02, 0x4B564D03, 0x4B564D04, 0x4B564D05
    READ_MSR \number
    .endr
    hlt
8:  add $8, %rsp
9:  mov %r15, (%rsp)
    iretq
END

// Tells what ring 3 reads of vector and x87 state, from 2 MiB on; with AVX-512 where the processor has it.
GUEST name=probe-user64, mode=USER64, end=EXITED, code=0
    mov $TOLD, %edi
    .irp register, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    movups %xmm\register, (%rdi)
    add $16, %edi
    .endr
    stmxcsr (%rdi)
    fnsave 16(%rdi)
    EXIT 0
END

GUEST name=probe-avx512, mode=USER64, end=EXITED, code=0
    mov $TOLD, %edi
    .irp register, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    vmovdqu64 %zmm\register, (%rdi)
    add $64, %edi
    .endr
    .irp register, 0, 1, 2, 3, 4, 5, 6, 7
    kmovq %k\register, (%rdi)
    add $8, %edi
    .endr
    EXIT 0
END

END_TABLE poison
