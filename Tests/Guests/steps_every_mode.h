// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

// Programs with a known number of steps that are the same in every mode. The file that includes this defines
//   STEPS name, steps    a macro that begins a guest called MODE-name
//   STOP, STOP_STEPS     how the program ends, and in how many steps
//   AX CX SI DI          the registers in the width of the mode
//   SOURCE, TARGET       two areas of 16 KiB of zeros

// Nothing but arithmetic and jumps.
STEPS loop, steps=1+(2*2000)+STOP_STEPS
    mov $2000, CX
1:  dec CX
    jnz 1b
    STOP
END

// Port writes, which KVM completes before it comes back, and which give no single-step stop of their own.
STEPS out, steps=1+(3*1000)+STOP_STEPS
    mov $1000, CX
1:  out %al, $NO_DEVICE
    dec CX
    jnz 1b
    STOP
END

// Port reads, which complete on the next entry.
STEPS in, steps=1+(3*1000)+STOP_STEPS
    mov $1000, CX
1:  in $NO_DEVICE, %al
    dec CX
    jnz 1b
    STOP
END

// Every string instruction between memory and memory, REP ten times: one step each.
STEPS rep, steps=4+2+2+2+3+3+STOP_STEPS
    mov $SOURCE, SI
    mov $TARGET, DI
    mov $10, CX
    rep movsb
    mov $10, CX
    rep stosw
    mov $10, CX
    rep lodsb
    mov $10, CX
    repe cmpsb
    mov $1, %al
    mov $10, CX
    repne scasb
    mov $TARGET, DI
    mov $10, CX
    repe scasw
    STOP
END

// The two that can end before their count: CMPS at the fifth byte, which differs, and SCAS at the first, which matches.
STEPS rep-early, steps=5+3+STOP_STEPS
    movb $1, SOURCE + 4
    mov $SOURCE, SI
    mov $TARGET, DI
    mov $10, CX
    repe cmpsb
    xor %al, %al
    mov $10, CX
    repne scasb
    STOP
END

// A count of zero does nothing and is still one step, also where the instruction would touch a port.
STEPS rep-zero, steps=4+7+STOP_STEPS
    mov $SOURCE, SI
    mov $TARGET, DI
    mov $NO_DEVICE, %dx
    xor CX, CX
    rep movsb
    rep stosb
    rep lodsb
    repe cmpsb
    repne scasb
    rep outsb
    rep insb
    STOP
END

// Counts over 1,024, where KVM's emulator comes back in the middle of the instruction.
STEPS rep-3000, steps=(5*4)+STOP_STEPS
    mov $SOURCE, SI
    mov $TARGET, DI
    mov $3000, CX
    rep movsb
    mov $SOURCE, SI
    mov $TARGET, DI
    mov $3000, CX
    repe cmpsb
    mov $1, %al
    mov $TARGET, DI
    mov $3000, CX
    repne scasb
    mov $SOURCE, SI
    mov $TARGET, DI
    mov $3000, CX
    rep lodsb
    mov $TARGET, DI
    mov $SOURCE, SI
    mov $3000, CX
    rep stosb
    STOP
END

// String output: an exit for each element, one step for all. The nop sees that counting goes on behind it.
STEPS rep-outs, steps=6+STOP_STEPS
    mov $SOURCE, SI
    mov $NO_DEVICE, %dx
    mov $20, CX
    rep outsb
    outsb
    nop
    STOP
END

// String input: one exit for several elements, one step for all. The last INS has no REP.
STEPS rep-ins, steps=6+STOP_STEPS
    mov $TARGET, DI
    mov $NO_DEVICE, %dx
    mov $20, CX
    rep insb
    insw
    nop
    STOP
END

// Near calls.
STEPS call, steps=1+(4*100)+STOP_STEPS
    mov $100, CX
1:  call 2f
    dec CX
    jnz 1b
    STOP
2:  ret
END

// Flags to the stack and back as they are.
STEPS flags, steps=1+(4*100)+STOP_STEPS
    mov $100, CX
1:  pushf
    popf
    dec CX
    jnz 1b
    STOP
END

// Flags to the stack and back with the trap flag cleared: a counter that single-steps by this flag must not lose it.
STEPS flags-without-trap, steps=1+(7*100)+STOP_STEPS
    mov $100, CX
1:  pushf
    pop AX
    and $~0x100, AX
    push AX
    popf
    dec CX
    jnz 1b
    STOP
END

// Instructions that a hypervisor may intercept.
STEPS cpuid, steps=5+STOP_STEPS
    xor %eax, %eax
    cpuid
    mov $1, %eax
    cpuid
    rdtsc
    STOP
END

// The opcode of HLT as data: jumped over, as the last byte of an instruction, and right before a jump's target.
STEPS past-hlt, steps=4+STOP_STEPS
    jmp 1f
    hlt
1:  mov $0xF4, %al
    nop
    jmp 2f
    .byte 0xF4
2:  STOP
END
