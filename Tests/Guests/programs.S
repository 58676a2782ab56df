// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

// Guests that do some work: they read input, print a result, end with a code.

#include "program.h"

TABLE programs

#define LINE 0x2000
#define LINE_END 0xF000

// Reads a line, or all the input if it has no newline, and prints it reversed and a newline. A line that is longer than
// the 52 KiB between LINE and LINE_END is cut there. Steps depend on the input and on when it comes.
GUEST name=reverse-line, mode=REAL16, end=HALTED
    mov $LINE, %di
1:  READ_BYTE ended=2f
    cmp $'\n', %al
    je 2f
    stosb
    cmp $LINE_END, %di
    jb 1b
2:  mov $COM1, %dx
3:  cmp $LINE, %di
    je 4f
    dec %di
    mov (%di), %al
    out %al, %dx
    jmp 3b
4:  mov $'\n', %al
    out %al, %dx
    hlt
END

// Prints its input until that ends. Steps depend on the input and on when it comes.
GUEST name=echo, mode=REAL16, end=HALTED
1:  READ_BYTE ended=2f
    out %al, %dx
    jmp 1b
2:  hlt
END

#define SIEVE 0x200000
#define PRIMES_BELOW 1000

// Prints the primes below 1,000, one a line in decimal. The sieve lies in memory that is zero at the start; a byte that
// is not 0 marks a multiple. Digits are pushed from the last to the first, above the newline that ends them.
//
// Steps: 3 to begin; for each n from 2 to 999 it is 5 (cmpb, jne, inc, cmp, jb), so 5*998; for each of the 168 primes
// another 3 around its digits (mov, push, and mov before printing) and 3 around its multiples (lea, and cmp, jae at the
// end); 6 for each of the 475 digits; 4 for each of the 475 digits and 168 newlines; 5 for each of the 1,956 multiples
// 2p, 3p... below 1,000 of each prime p.
#define PRIMES_STEPS 3+5*998+6*168+6*475+4*(475+168)+5*1956
.macro PRIMES
    mov $SIEVE, %edi
    mov $2, %ecx
    mov $10, %ebx
1:  cmpb $0, (%rdi,%rcx)
    jne 6f
    mov %ecx, %eax
    push $'\n'
2:  xor %edx, %edx
    div %ebx
    add $'0', %edx
    push %rdx
    test %eax, %eax
    jnz 2b
    mov $COM1, %edx
3:  pop %rax
    out %al, %dx
    cmp $'\n', %al
    jne 3b
    lea (%rcx,%rcx), %edx
4:  cmp $PRIMES_BELOW, %edx
    jae 6f
    movb $1, (%rdi,%rdx)
    add %ecx, %edx
    jmp 4b
6:  inc %ecx
    cmp $PRIMES_BELOW, %ecx
    jb 1b
.endm

// The primes at ring 0.
GUEST name=primes, mode=LONG64, end=HALTED, steps=PRIMES_STEPS+1
    PRIMES
    hlt
END

// The same at ring 3, where every backend runs it natively.
GUEST name=primes-user, mode=USER64, end=EXITED, code=0, steps=PRIMES_STEPS+2
    PRIMES
    EXIT 0
END

// Exit codes in each width of OUT. The OUT is the last step.
GUEST name=exit-byte, mode=REAL16, end=EXITED, code=7, steps=2
    EXIT 7
END

GUEST name=exit-word, mode=PROTECTED32, end=EXITED, code=0x1234, steps=2
    mov $0x1234, %eax
    out %ax, $EXIT_PORT
END

GUEST name=exit-double-word, mode=LONG64, end=EXITED, code=0x89ABCDEF, steps=3
    mov $EXIT_PORT, %edx
    mov $0x89ABCDEF, %eax
    out %eax, %dx
END

// From real mode by way of protected mode to long mode, with a descriptor table and page tables of its own (one page of
// 2 MiB). Prints "rpl\n", a letter from each mode.
#define SWITCH_TABLES 0x10000
GUEST name=mode-switch, mode=REAL16, end=HALTED, steps=(3+6)+(3+4+3+5+4+3+1)+(1+3+3+1)
    PRINT 'r'
    cli
    lgdt AT(.Lswitch_gdtr)
    mov %cr0, %eax
    or $1, %al
    mov %eax, %cr0
    ljmpl $0x08, $AT(.Lswitch_protected)
.Lswitch_protected:
    .code32
    PRINT 'p'
    mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %ss
    mov $0x8000, %esp
    movl $(SWITCH_TABLES + 0x1003), SWITCH_TABLES
    movl $(SWITCH_TABLES + 0x2003), SWITCH_TABLES + 0x1000
    movl $0x83, SWITCH_TABLES + 0x2000
    mov $SWITCH_TABLES, %eax
    mov %eax, %cr3
    mov %cr4, %eax
    or $0x20, %eax
    mov %eax, %cr4
    mov $0xC0000080, %ecx
    rdmsr
    or $0x100, %eax
    wrmsr
    mov %cr0, %eax
    or $0x80000000, %eax
    mov %eax, %cr0
    ljmp $0x18, $AT(.Lswitch_long)
.Lswitch_long:
    .code64
    movabs $0x123456789AB, %rbx
    PRINT 'l'
    PRINT '\n'
    hlt
    .balign 8
.Lswitch_gdt:
    .quad 0
    .quad 0x00CF9B000000FFFF    // 0x08: 32-bit code
    .quad 0x00CF93000000FFFF    // 0x10: data
    .quad 0x00AF9B000000FFFF    // 0x18: 64-bit code
.Lswitch_gdtr:
    .word .Lswitch_gdtr - .Lswitch_gdt - 1
    .long AT(.Lswitch_gdt)
END

END_TABLE programs
