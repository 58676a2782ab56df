// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

// A Multiboot kernel that prints what it is told: sizes, memory map, command line, modules.

#include "console.h"

struct information {
    u32 flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4], mmap_length, mmap_addr;
    u32 drives_length, drives_addr, config_table, boot_loader_name;
};
struct module { u32 start, end, text, reserved; };
struct range { u32 size; u64 address, count; u32 kind; } __attribute__((packed));

__attribute__((section(".multiboot"), aligned(4), used)) static const u32 header[] = {0x1BADB002, 3, -(0x1BADB002 + 3)};

static char stack[4096] __attribute__((aligned(16), used));

__asm__(".globl _start\n_start: mov $stack + 4096, %esp\n push %ebx\n push %eax\n call begin\n");

static void put_ranges(const struct information *information) {
    u32 place = information->mmap_addr, end = place + information->mmap_length;
    while (place < end) {
        const struct range *range = address(place);
        put("range ");
        put_number(range->address);
        put_byte(' ');
        put_number(range->count);
        put_byte(' ');
        put_number(range->kind);
        put_byte('\n');
        place += range->size + 4;
    }
}

__attribute__((used)) static void begin(u32 magic, const struct information *information) {
    put_field("magic", magic);
    put_field("flags", information->flags);
    put_field("lower", information->mem_lower);
    put_field("upper", information->mem_upper);
    put_ranges(information);
    put("text ");
    put(address(information->cmdline));
    put("\nloader ");
    put(address(information->boot_loader_name));
    put_byte('\n');
    const struct module *modules = address(information->mods_addr);
    for (u32 index = 0; index < information->mods_count; index++) {
        put("module ");
        put(address(modules[index].text));
        put_byte(' ');
        put_number(modules[index].start & 0xFFF);
        put_byte(' ');
        put_bytes(address(modules[index].start), modules[index].end - modules[index].start);
        put_byte('\n');
    }
    leave(0);
}
