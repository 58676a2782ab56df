// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

// Instructions that a program may not execute, or that leave the processor in a state that it must not keep: each from a page of its
// own, with a return behind it. Every port, every selector.

#include "survive.h"

static unsigned char *page;
static uint64_t scratch[1024] __attribute__((aligned(4096)));

// RDI points to 8 KiB that the instruction may use.
static void execute(const unsigned char *code, int bytes) {
    memcpy(page, code, (size_t)bytes);
    page[bytes] = 0xC3;
    if (TRYING()) {
        ((void (*)(void *, long, long, long))page)(scratch, 0, 0, 0);
        counts[0]++;
    }
}

static void hexadecimal(const char *name, const char *text) {
    unsigned char code[64];
    int bytes = 0;
    for (; text[bytes * 2]; bytes++) { unsigned value; sscanf(text + bytes * 2, "%2x", &value); code[bytes] = (unsigned char)value; }
    execute(code, bytes);
    told(name);
}

static const char *all[][2] = {
    {"hlt", "f4"}, {"cli", "fa"}, {"sti", "fb"}, {"mov to cr0", "0f22c0"}, {"mov to cr3", "0f22d8"}, {"mov to cr4", "0f22e0"},
    {"mov to cr8", "440f22c0"}, {"mov from cr0", "0f20c0"}, {"mov to dr7", "0f23f8"}, {"mov from dr0", "0f21c0"}, {"clts", "0f06"},
    {"lgdt", "0f0117"}, {"lidt", "0f011f"}, {"lldt", "0f00d0"}, {"ltr", "0f00d8"}, {"sgdt", "0f0107"}, {"sidt", "0f010f"},
    {"sldt", "0f00c0"}, {"str", "0f00c8"}, {"smsw", "0f01e0"}, {"lmsw", "0f01f0"}, {"invlpg", "0f013f"}, {"invd", "0f08"},
    {"wbinvd", "0f09"}, {"wrmsr", "0f30"}, {"rdmsr", "0f32"}, {"rdpmc", "0f33"}, {"rdtsc", "0f31"}, {"rdtscp", "530f01f95b"},
    {"vmcall", "0f01c1"}, {"vmmcall", "0f01d9"}, {"vmlaunch", "0f01c2"}, {"vmrun", "0f01d8"}, {"vmxon", "f30fc737"},
    {"swapgs", "0f01f8"}, {"sysret", "480f07"}, {"sysexit", "480f35"}, {"sysenter", "0f34"}, {"int 80", "cd80"}, {"int 0", "cd00"},
    {"int 8", "cd08"}, {"int 14", "cd0e"}, {"int 18", "cd12"}, {"int 32", "cd20"}, {"int 255", "cdff"}, {"int1", "f1"}, {"int3", "cc"},
    {"into", "ce"}, {"ud2", "0f0b"}, {"ud1", "0fb9c0"}, {"iretq of nothing", "48cf"}, {"lret", "48cb"}, {"monitor", "0f01c8"},
    {"mwait", "0f01c9"}, {"xsetbv", "0f01d1"}, {"xgetbv", "31c90f01d0"}, {"rsm", "0faa"}, {"getsec", "0f37"}, {"enclu", "0f01d7"},
    {"encls", "0f01cf"}, {"invpcid", "660f388217"}, {"stac", "0f01cb"}, {"clac", "0f01ca"}, {"skinit", "0f01de"}, {"invlpga", "0f01df"},
    {"stgi", "0f01dc"}, {"clgi", "0f01dd"}, {"insb", "66ba400066ec6c"}, {"outsb", "66ba40006e"}, {"rep outsb to the call port", "66bae100b9ffffff7f4889fef36e"},
    {"rep insb from the call port", "66bae100b900100000f36c"}, {"out eax to the call port", "66bae100ef"}, {"out ax to the call port", "66bae10066ef"},
    {"in al from the call port", "e4e1"}, {"out al to the trap port", "e6e0"}, {"in al from the trap port", "e4e0"},
    {"xrstor of garbage", "48c7c0ffffffff89c2480fae2f"}, {"fxrstor of garbage", "0fae0f"}, {"ldmxcsr of garbage", "0fae17"}, {"xrstors", "480fc71f"},
    {"xsaves", "480fc72f"}, {"wrfsbase of no address", "48b8000000000000008 0f3480faed0"}, {"wrgsbase of no address", "48b80000000000000080f3480faed8"},
    {"wrgsbase of the other half", "48c7c0000000fff3480faed8"}, {"rdfsbase", "f3480faec0"}, {"lfs of nothing", "0fb407"}, {"mov to ss of 0", "31c08ed0"},
    {"mov to ds of garbage", "b8ffff00008ed8"}, {"mov to fs of ring 0", "b8080000008ee0"}, {"pushf and popf of all flags", "9c68ffffff7f9d9d"},
    {"popf with TF", "9c9c81 0c2400010000 9d 90 9d"}, {"popf with NT and an iretq", "9c810c24004000009d48cf"}, {"lock cmpxchg8b with a register", "f00fc7c8"},
    {"a prefix too many", "66666666666666666666666666666690"}, {"vzeroupper", "c5f877"}, {"evex of nothing", "62f17c480000"}, {"cpuid", "5331c00fa25b"},
    {"cpuid of nothing", "53b8ffffff7f0fa25b"}, {"rdrand", "480fc7f0"}, {"clflush", "0fae3f"}, {"prefetchw", "0f0d0f"}, {"tpause", "660faef0"},
    {"umwait", "f20faef0"}, {"serialize", "0f01e8"}, {"xbegin", "c7f800000000"}, {"xabort", "c6f800"}, {"ptwrite", "f30faee0"}, {"rdpid", "f30fc7f8"},
    {"wrpkru", "31c931d231c00f01ef"}, {"endbr64", "f30f1efa"}, {"salc", "d6"}, {"pusha", "60"}, {"jmp far in memory", "48ff2f"}, {"call far in memory", "48ff1f"},
    {"mov from a bad address", "48b8000000000000ff7f488b00"}, {"push to a bad stack", "4889e048c7c40000000050"}, {"divide", "31c9f7f1"}, {"idiv of the least", "48b8000000000000008048 9948c7c1fffffffff7f9"},
    {"bound", "62"}, {"a jump to itself, short of its end", "ebff"}, {"x87 with an exception", "d9eed9e8def9d97f0d80 7f0d00"},
};

static void ports(void) {
    for (int port = 0; port < 0x10000; port += port < 0x400 ? 1 : 0x101) {
        if (port == 0xE1) continue;
        unsigned char in[] = {0x66, 0xBA, (unsigned char)port, (unsigned char)(port >> 8), 0xEC};
        unsigned char out[] = {0x66, 0xBA, (unsigned char)port, (unsigned char)(port >> 8), 0xEE};
        execute(in, 5), execute(out, 5);
    }
    told("all ports but one");
}

// Far returns and IRETQ to every selector that could mean something: ring 0, 16 and 32-bit code, no code, a TSS.
static void selectors(void) {
    for (volatile int round = 0; round < 2; round++)
        for (volatile int selector = 0; selector < 0x90; selector++) {
            if (selector == 0x33 || selector == 0x2b) continue;
            if (!TRYING()) continue;
            if (round)
                __asm__ volatile("pushq %0\n\tlea 1f(%%rip), %%rax\n\tpushq %%rax\n\tlretq\n1:" : : "r"((uint64_t)selector) : "rax", "memory");
            else
                __asm__ volatile("mov %%rsp, %%rcx\n\tpushq $0x2b\n\tpushq %%rcx\n\tpushfq\n\tpushq %0\n\tlea 1f(%%rip), %%rax\n\tpushq %%rax\n\tiretq\n1:"
                    : : "r"((uint64_t)selector) : "rax", "rcx", "memory");
            counts[0]++;
        }
    told("selectors");
}

// System calls with each flag set that a program can set, one after the other; the flags must be as they were.
static void flags(void) {
    static const struct { const char *name; uint64_t flag; } them[] = {
        {"CF", 1}, {"DF", 1 << 10}, {"OF", 1 << 11}, {"NT", 1 << 14}, {"RF", 1 << 16}, {"AC", 1 << 18}, {"ID", 1 << 21}, {"IOPL", 3 << 12}, {"TF", 1 << 8},
    };
    for (size_t i = 0; i < sizeof them / sizeof *them; i++) {
        volatile uint64_t after = 0;
        if (TRYING()) {
            uint64_t left, number = 39;
            __asm__ volatile("pushfq\n\torq %2, (%%rsp)\n\tpopfq\n\tsyscall\n\tpushfq\n\tpopq %1\n\tpushq $0x202\n\tpopfq"
                : "+a"(number), "=&r"(left) : "r"(them[i].flag) : "rcx", "r11", "memory", "cc");
            after = left;
        }
        printf("%s: after the call %s; ", them[i].name, after & them[i].flag ? "set" : "not set");
        told("signals");
    }
}

int main(void) {
    survive_faults();
    page = mmap(NULL, 8192, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 1024; i++) scratch[i] = chance();
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char text[200];
        int length = 0;
        for (const char *from = all[i][1]; *from; from++) if (*from != ' ') text[length++] = *from;
        text[length - length % 2] = 0;
        hexadecimal(all[i][0], text);
    }
    ports();
    selectors();
    flags();
    puts("through");
    return 0;
}
