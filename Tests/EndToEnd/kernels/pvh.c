// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

// A PVH kernel that prints what it is told.

#include "console.h"

struct start_information {
    u32 magic, version, flags, nr_modules;
    u64 modlist_paddr, cmdline_paddr, rsdp_paddr, memmap_paddr;
    u32 memmap_entries, reserved;
};
struct module { u64 address, count, text, reserved; };
struct range { u64 address, count; u32 kind, reserved; };

static char stack[4096] __attribute__((aligned(16), used));

__asm__(".globl _start\n_start: mov $stack + 4096, %esp\n push %ebx\n call begin\n"
        ".pushsection .note.Xen, \"a\", @note\n"
        ".long 4, 4, 18\n.asciz \"Xen\"\n.long _start\n"
        ".popsection\n");

__attribute__((used)) static void begin(const struct start_information *information) {
    put_field("magic", information->magic);
    put_field("version", information->version);
    put_field("rsdp", information->rsdp_paddr);
    const struct range *ranges = address((u32)information->memmap_paddr);
    for (u32 index = 0; index < information->memmap_entries; index++) {
        put("range ");
        put_number(ranges[index].address);
        put_byte(' ');
        put_number(ranges[index].count);
        put_byte(' ');
        put_number(ranges[index].kind);
        put_byte('\n');
    }
    put("text ");
    put(address((u32)information->cmdline_paddr));
    put_byte('\n');
    const struct module *modules = address((u32)information->modlist_paddr);
    for (u32 index = 0; index < information->nr_modules; index++) {
        put("module ");
        put(address((u32)modules[index].text));
        put_byte(' ');
        put_bytes(address((u32)modules[index].address), (u32)modules[index].count);
        put_byte('\n');
    }
    leave(0);
}
