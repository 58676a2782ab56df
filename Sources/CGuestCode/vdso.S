// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

// The shared object that AT_SYSINFO_EHDR points to: by its symbols C libraries and language runtimes find functions for what they
// ask the kernel most, and call those in place of it. See vdso(7).
//
// The page behind the image holds what the clocks are made from; where its multiplier is 0, every function asks the worker.

#define CLOCKS 0x1000
#define TICKS_AT_START (CLOCKS + 0x00)          // what RDTSC gave when the monotonic clock showed MONOTONIC_AT_START
#define NANOSECONDS_PER_TICK (CLOCKS + 0x08)    // times 2^32; 0: ask the worker
#define MONOTONIC_AT_START (CLOCKS + 0x10)      // nanoseconds
#define REALTIME_OFFSET (CLOCKS + 0x18)         // nanoseconds from the monotonic clock to the one that shows the date

#define AT(offset) (.Lstart + (offset))(%rip)

    .section .rodata
    .global guest_vdso, guest_vdso_end
    .balign 16
guest_vdso:
.Lstart:
    .byte 0x7F, 'E', 'L', 'F', 2, 1, 1, 0
    .quad 0
    .short 3, 62                // ET_DYN, EM_X86_64
    .long 1
    .quad 0                     // no entry
    .quad headers - guest_vdso
    .quad 0                     // no sections
    .long 0
    .short 64, 56, 2, 64, 0, 0

headers:
    .long 1, 5                  // PT_LOAD, readable and executable
    .quad 0, 0, 0
    .quad guest_vdso_end - guest_vdso, guest_vdso_end - guest_vdso
    .quad 0x1000
    .long 2, 4                  // PT_DYNAMIC
    .quad dynamic - guest_vdso, dynamic - guest_vdso, dynamic - guest_vdso
    .quad dynamic_end - dynamic, dynamic_end - dynamic
    .quad 8

    .balign 8
dynamic:
    .quad 4, hash - guest_vdso          // DT_HASH
    .quad 5, strings - guest_vdso       // DT_STRTAB
    .quad 6, symbols - guest_vdso       // DT_SYMTAB
    .quad 10, strings_end - strings     // DT_STRSZ
    .quad 11, 24                        // DT_SYMENT
    .quad 14, soname - strings          // DT_SONAME
    .quad 0x6FFFFFF0, versions - guest_vdso             // DT_VERSYM
    .quad 0x6FFFFFFC, version_definitions - guest_vdso  // DT_VERDEF
    .quad 0x6FFFFFFD, 2                                 // DT_VERDEFNUM
    .quad 0, 0
dynamic_end:

strings:
    .byte 0
soname: .asciz "linux-vdso.so.1"
version: .asciz "LINUX_2.6"
name_clock_gettime: .asciz "__vdso_clock_gettime"
name_gettimeofday: .asciz "__vdso_gettimeofday"
name_time: .asciz "__vdso_time"
name_getcpu: .asciz "__vdso_getcpu"
strings_end:

    .balign 8
symbols:
    .zero 24
    // A global function in some section; what is not in section 0 is defined.
    .macro SYMBOL name
    .long name_\name - strings
    .byte 0x12, 0
    .short 1
    .quad \name - guest_vdso, \name\()_end - \name
    .endm
    SYMBOL clock_gettime
    SYMBOL gettimeofday
    SYMBOL time
    SYMBOL getcpu

    // One bucket, which all symbols are in, one behind the other.
hash:
    .long 1, 5
    .long 1
    .long 0, 2, 3, 4, 0

versions:
    .short 0, 2, 2, 2, 2

    .balign 8
version_definitions:
    .short 1, 1, 1, 1           // the object itself
    .long 0x0DEEBFA1            // the hash of its name
    .long 20, second_definition - version_definitions
first_name:
    .long soname - strings, 0
second_definition:
    .short 1, 0, 2, 1
    .long 0x03AE75F6            // the hash of "LINUX_2.6"
    .long 20, 0
    .long version - strings, 0

    .balign 16, 0xCC
// RAX: the monotonic clock; without it, carry is set. Changes RCX and RDX.
monotonic:
    mov AT(NANOSECONDS_PER_TICK), %rcx
    cmp $1, %rcx
    jb 1f
    lfence
    rdtsc
    shl $32, %rdx
    or %rdx, %rax
    sub AT(TICKS_AT_START), %rax
    // A processor whose counter is behind that one's has no time to show before the start.
    jae 2f
    xor %eax, %eax
2:  mul %rcx
    shrd $32, %rdx, %rax
    add AT(MONOTONIC_AT_START), %rax
    clc
1:  ret

    .balign 16, 0xCC
// int clock_gettime(clockid_t, struct timespec *)
clock_gettime:
    // CLOCK_REALTIME and its coarse one; then the monotonic ones, of which one is coarse, one raw, and one goes on through sleep.
    xor %r8d, %r8d
    mov $0x21, %r9d
    bt %edi, %r9d
    jc 1f
    mov $0xD2, %r9d
    bt %edi, %r9d
    jnc 3f
    jmp 2f
1:  mov AT(REALTIME_OFFSET), %r8
2:  cmp $7, %edi
    ja 3f
    call monotonic
    jc 3f
    add %r8, %rax
    xor %edx, %edx
    mov $1000000000, %ecx
    div %rcx
    mov %rax, (%rsi)
    mov %rdx, 8(%rsi)
    xor %eax, %eax
    ret
3:  mov $228, %eax
    syscall
    ret
clock_gettime_end:

    .balign 16, 0xCC
// int gettimeofday(struct timeval *, struct timezone *)
gettimeofday:
    test %rsi, %rsi
    jnz 3f
    test %rdi, %rdi
    jz 3f
    call monotonic
    jc 3f
    add AT(REALTIME_OFFSET), %rax
    xor %edx, %edx
    mov $1000000000, %ecx
    div %rcx
    mov %rax, (%rdi)
    mov %edx, %eax
    xor %edx, %edx
    mov $1000, %ecx
    div %ecx
    mov %rax, 8(%rdi)
    xor %eax, %eax
    ret
3:  mov $96, %eax
    syscall
    ret
gettimeofday_end:

    .balign 16, 0xCC
// time_t time(time_t *)
time:
    call monotonic
    jc 3f
    add AT(REALTIME_OFFSET), %rax
    xor %edx, %edx
    mov $1000000000, %ecx
    div %rcx
    test %rdi, %rdi
    jz 1f
    mov %rax, (%rdi)
1:  ret
3:  mov $201, %eax
    syscall
    ret
time_end:

    .balign 16, 0xCC
// int getcpu(unsigned *, unsigned *, void *): there is one processor.
getcpu:
    test %rdi, %rdi
    jz 1f
    movl $0, (%rdi)
1:  test %rsi, %rsi
    jz 1f
    movl $0, (%rsi)
1:  xor %eax, %eax
    ret
getcpu_end:
guest_vdso_end:

    .section .note.GNU-stack, "", @progbits
