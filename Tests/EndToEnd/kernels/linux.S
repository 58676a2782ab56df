// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

// What a bzImage is to whoever starts it: a setup header by the boot protocol of Linux, version 2.15, and code at the 64-bit entry
// that looks at what it was given. It is no Linux: it prints the command line, and the first bytes of the initial RAM disk, and
// reloads the segment registers by the selectors that the protocol promises.

    .code64
    .section .text
    .globl _start
_start:
    .org 0x1F1
    .byte 1                             // setup_sects
    .word 0
    .long (end - kernel) / 16           // syssize
    .org 0x1FE
    .word 0xAA55
    .byte 0xEB, header_end - 0x202 - _start
    .ascii "HdrS"
    .word 0x020F                        // version
    .org 0x20E
    .word release - 0x200 - _start      // kernel_version
    .byte 0, 1                          // type_of_loader, loadflags: LOADED_HIGH
    .org 0x22C
    .long 0x7FFFFFFF                    // initrd_addr_max
    .long 0x200000                      // kernel_alignment
    .byte 1, 21                         // relocatable_kernel, min_alignment
    .word 1                             // xloadflags: a 64-bit entry
    .long 2047                          // cmdline_size
    .org 0x258
    .quad 0x1000000                     // pref_address
    .long 0x100000                      // init_size
    .org 0x26C
header_end:
release:
    .asciz "6.0.0-example (nobody)"
    .org 0x400
kernel:
    .org 0x600                          // the 64-bit entry
    mov $0x18, %eax
    mov %eax, %ds
    mov %eax, %ss
    mov 0x228(%rsi), %ebx               // cmd_line_ptr
1:  mov (%rbx), %al
    test %al, %al
    jz 2f
    outb %al, $0xE9
    inc %rbx
    jmp 1b
2:  mov $'|', %al
    outb %al, $0xE9
    mov 0x218(%rsi), %ebx               // ramdisk_image
    mov 0x21C(%rsi), %ecx               // ramdisk_size
3:  jecxz 4f
    mov (%rbx), %al
    outb %al, $0xE9
    inc %rbx
    dec %ecx
    jmp 3b
4:  mov $'|', %al
    outb %al, $0xE9
    mov 0x1E8(%rsi), %al                // e820_entries
    add $'0', %al
    outb %al, $0xE9
    mov $5, %al
    outb %al, $0xF4
    hlt
    .balign 16
end:
