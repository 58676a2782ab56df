// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

// What SYSCALL leads to: LSTAR holds the address of one of the two entries. The program may read and execute this page, and jump
// anywhere in it: nothing here can do more than the program itself.
//
// RCX holds the program's next address and R11 its flags, as SYSCALL left them.

#define CALL_PORT 0xE1

// Offsets from the page's beginning, in pages that the program may write. GuestImage's ProgramArea has the same numbers.
#define SCRATCH 0x1000          // the page behind this one
#define SAVED_RCX (SCRATCH + 0x00)
#define SAVED_RSP (SCRATCH + 0x08)
#define SAVED_RSI (SCRATCH + 0x10)
#define SAVED_RDI (SCRATCH + 0x18)
#define INPUT_NEXT (SCRATCH + 0x20)     // where in the input window the next byte is
#define INPUT_LEFT (SCRATCH + 0x28)     // how many bytes follow
#define FAST_CALLS (SCRATCH + 0x30)     // calls that were answered here
#define STACK_TOP (SCRATCH + 0x100)
#define INPUT_WINDOW (SCRATCH + 0x1000)

#define AT(offset) (.Lstart + (offset))(%rip)

    .section .rodata
    .global guest_call_page, guest_call_page_end
    .balign 16
guest_call_page:
.Lstart:
    // 0x00: leaves the guest. Where SYSCALL has entered ring 0, the worker goes on at the SYSRET; elsewhere in the program.
    out %al, $CALL_PORT
    // 0x02
    sysretq

    // 0x10: where a SYSCALL from 32-bit code leads.
    .balign 16, 0xCC
    ud2

    // 0x20: for processors on which SYSCALL stays at ring 3. Answers what needs no host; all else leaves the guest as above.
    // Here the flags are still the program's: nothing changes them until it is known that they can be restored.
    .balign 32, 0xCC
    mov %rcx, AT(SAVED_RCX)
    lea -39(%rax), %rcx
    jrcxz getpid
    mov %rax, %rcx
    jrcxz read
slow:
    mov AT(SAVED_RCX), %rcx
    out %al, $CALL_PORT
    ud2

getpid:
    mov AT(FAST_CALLS), %rcx
    lea 1(%rcx), %rcx
    mov %rcx, AT(FAST_CALLS)
    mov $1, %eax
    mov %rsp, AT(SAVED_RSP)
    lea AT(STACK_TOP), %rsp
    push %r11
    jmp return

    // read(0, buffer, count), from what the worker has put into the input window. If the buffer is not there the copy faults: the
    // worker then takes the registers from where they are saved, and serves the call as if it had come by the slow way.
read:
    mov %rdi, %rcx
    jrcxz from_window
    jmp slow
from_window:
    mov AT(INPUT_LEFT), %rcx
    jrcxz slow
    mov %rsp, AT(SAVED_RSP)
    mov %rsi, AT(SAVED_RSI)
    mov %rdi, AT(SAVED_RDI)
    lea AT(STACK_TOP), %rsp
    push %r11
    cmp %rdx, %rcx
    cmova %rdx, %rcx
    mov %rcx, %rax
    mov %rsi, %rdi
    lea AT(INPUT_WINDOW), %rsi
    add AT(INPUT_NEXT), %rsi
    cld
    rep movsb
    add %rax, AT(INPUT_NEXT)
    sub %rax, AT(INPUT_LEFT)
    incq AT(FAST_CALLS)
    mov AT(SAVED_RDI), %rdi
    mov AT(SAVED_RSI), %rsi
return:
    popfq
    mov AT(SAVED_RSP), %rsp
    mov AT(SAVED_RCX), %rcx
    jmp *%rcx
guest_call_page_end:

    .section .note.GNU-stack, "", @progbits
