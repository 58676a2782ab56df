#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""Writes the vectors of this directory: 8088-written.json with a state before and after each instruction, and metadata.json.

What an instruction does is modelled here after the description in the processor's manual, so the vectors say what
an 8088 should do, not what a machine at hand did. Run it again after a change: the same numbers come out.
"""
import json
import random
from pathlib import Path

WORD = ["ax", "cx", "dx", "bx", "sp", "bp", "si", "di"]
BYTE = ["al", "cl", "dl", "bl", "ah", "ch", "dh", "bh"]
SEGMENT = ["es", "cs", "ss", "ds"]
CF, PF, AF, ZF, SF, TF, IF, DF, OF = 1, 4, 0x10, 0x40, 0x80, 0x100, 0x200, 0x400, 0x800
ARITHMETIC = CF | PF | AF | ZF | SF | OF
NOP = 0x90
PER_FORM = 3


class Machine:
    """An 8088 before one instruction. Memory comes into being, at random, as it is read."""

    def __init__(self, rng):
        self.rng = rng
        self.r = {name: rng.randrange(0x10000) for name in WORD}
        # Segments and offsets that stay clear of their ends: those have vectors of their own.
        self.r.update({s: rng.randrange(0x0800, 0xE000) for s in SEGMENT})
        self.r["sp"] = rng.randrange(0x100, 0xFF00) & ~1
        self.r["ip"] = rng.randrange(0x100, 0xFE00)
        self.r["flags"] = 0xF002 | rng.randrange(0x1000) & (ARITHMETIC | DF)
        self.initial, self.memory, self.code = {}, {}, []
        self.start = {}

    # Memory

    def address(self, segment, offset):
        return ((self.r[segment] << 4) + (offset & 0xFFFF)) & 0xFFFFF

    def byte(self, segment, offset):
        at = self.address(segment, offset)
        if at not in self.memory:
            self.memory[at] = self.initial[at] = self.rng.randrange(256)
        return self.memory[at]

    def store_byte(self, segment, offset, value):
        at = self.address(segment, offset)
        if at not in self.memory:
            self.initial[at] = self.rng.randrange(256)
        self.memory[at] = value & 0xFF

    def read(self, segment, offset, size):
        low = self.byte(segment, offset)
        return low if size == 8 else low | self.byte(segment, offset + 1) << 8

    def write(self, segment, offset, value, size):
        self.store_byte(segment, offset, value)
        if size == 16:
            self.store_byte(segment, offset + 1, value >> 8)

    def put(self, at, values):
        for index, value in enumerate(values):
            self.initial[at + index] = self.memory[at + index] = value

    # Registers and flags

    def get(self, name):
        if name in self.r:
            return self.r[name]
        return self.r[name[0] + "x"] >> (8 if name[1] == "h" else 0) & 0xFF

    def set(self, name, value):
        if name in self.r:
            self.r[name] = value & 0xFFFF
            return
        whole, shift = name[0] + "x", 8 if name[1] == "h" else 0
        self.r[whole] = self.r[whole] & ~(0xFF << shift) | (value & 0xFF) << shift

    def choose(self, name, value):
        """Gives a register its value before the instruction."""
        self.set(name, value)
        whole = name if name in self.r else name[0] + "x"
        self.start[whole] = self.r[whole]

    def flag(self, bit):
        return 1 if self.r["flags"] & bit else 0

    def flags(self, **values):
        for name, on in values.items():
            bit = {"c": CF, "p": PF, "a": AF, "z": ZF, "s": SF, "d": DF, "i": IF, "o": OF}[name]
            self.r["flags"] = self.r["flags"] | bit if on else self.r["flags"] & ~bit

    def result_flags(self, value, size):
        value &= (1 << size) - 1
        self.flags(z=value == 0, s=value >> (size - 1), p=bin(value & 0xFF).count("1") % 2 == 0)

    def push(self, value):
        self.r["sp"] = (self.r["sp"] - 2) & 0xFFFF
        self.write("ss", self.r["sp"], value, 16)

    def pop(self):
        value = self.read("ss", self.r["sp"], 16)
        self.r["sp"] = (self.r["sp"] + 2) & 0xFFFF
        return value

    def interrupt(self, number):
        self.put(number * 4, [0x00, 0x04, 0x00, 0x00])
        for value in (self.r["flags"], self.r["cs"], self.r["ip"]):
            self.push(value)
        self.flags(i=0)
        self.r["flags"] &= ~TF
        self.r["cs"], self.r["ip"] = 0, 0x400
        self.put(0x400, [NOP])

    # Instruction bytes

    def fetch(self, *values):
        for value in values:
            at = self.address("cs", self.r["ip"])
            self.initial[at] = self.memory[at] = value & 0xFF
            self.code.append(value & 0xFF)
            self.r["ip"] = (self.r["ip"] + 1) & 0xFFFF

    def immediate(self, size):
        value = self.rng.randrange(1 << size)
        self.fetch(value, *([value >> 8] if size == 16 else []))
        return value

    def modrm(self, reg, size, memory=None):
        """Chooses an operand, writes its ModRM byte and displacement, and returns it."""
        mod = self.rng.choice([0, 1, 2]) if memory or (memory is None and self.rng.random() < 0.6) else 3
        rm = self.rng.randrange(8)
        self.fetch(mod << 6 | reg << 3 | rm)
        if mod == 3:
            return Operand(self, size, (WORD if size == 16 else BYTE)[rm])
        bases = [("bx", "si"), ("bx", "di"), ("bp", "si"), ("bp", "di"), ("si",), ("di",), ("bp",), ("bx",)][rm]
        segment = "ss" if "bp" in bases else "ds"
        if mod == 0 and rm == 6:
            bases, segment = (), "ds"
        offset = sum(self.r[name] for name in bases)
        if mod == 1:
            displacement = self.immediate(8)
            offset += displacement - 256 if displacement > 127 else displacement
        elif mod == 2 or not bases:
            offset += self.immediate(16)
        offset &= 0xFFFF
        if offset > 0xFFF0:
            raise Again
        return Operand(self, size, None, segment, offset)


class Again(Exception):
    """These random numbers lead to the end of a segment: take others."""


class Operand:
    def __init__(self, machine, size, register, segment=None, offset=None):
        self.machine, self.size, self.register, self.segment, self.offset = machine, size, register, segment, offset

    def get(self):
        if self.register:
            return self.machine.get(self.register)
        return self.machine.read(self.segment, self.offset, self.size)

    def set(self, value):
        if self.register:
            self.machine.set(self.register, value)
        else:
            self.machine.write(self.segment, self.offset, value, self.size)


def signed(value, size):
    return value - (1 << size) if value >> (size - 1) else value


def alu(m, operation, a, b, size):
    """ADD OR ADC SBB AND SUB XOR CMP by their number in the opcode map."""
    top, mask = 1 << (size - 1), (1 << size) - 1
    if operation in (1, 4, 6):
        value = [a | b, a & b, a ^ b][(1, 4, 6).index(operation)]
        m.flags(c=0, o=0)
    elif operation in (0, 2):
        carry = m.flag(CF) if operation == 2 else 0
        value = a + b + carry
        m.flags(c=value > mask, a=(a & 15) + (b & 15) + carry > 15, o=(a ^ value) & (b ^ value) & top)
    else:
        borrow = m.flag(CF) if operation == 3 else 0
        value = a - b - borrow
        m.flags(c=value < 0, a=(a & 15) - (b & 15) - borrow < 0, o=(a ^ b) & (a ^ value) & top)
    m.result_flags(value, size)
    return value & mask


# What each opcode does. An entry takes a machine whose opcode byte is fetched, and the opcode.

def alu_forms(m, op):
    operation, kind = op >> 3, op & 7
    size = 16 if op & 1 else 8
    if kind >= 4:
        target = Operand(m, size, "ax" if size == 16 else "al")
        value = alu(m, operation, target.get(), m.immediate(size), size)
    else:
        reg = m.rng.randrange(8)
        other = Operand(m, size, (WORD if size == 16 else BYTE)[reg])
        operand = m.modrm(reg, size)
        target, source = (operand, other) if kind < 2 else (other, operand)
        value = alu(m, operation, target.get(), source.get(), size)
    if operation != 7:
        target.set(value)


def alu_immediate(m, op, member):
    size = 16 if op & 1 else 8
    target = m.modrm(member, size)
    source = m.immediate(8 if op != 0x81 else 16)
    if op == 0x83:
        source = signed(source, 8) & 0xFFFF
    value = alu(m, member, target.get(), source, size)
    if member != 7:
        target.set(value)


def step_register(m, op):
    """INC and DEC keep CF."""
    name, carry = WORD[op & 7], m.flag(CF)
    m.set(name, alu(m, 0 if op < 0x48 else 5, m.get(name), 1, 16))
    m.flags(c=carry)


def step_operand(m, op, member):
    size, carry = (16 if op & 1 else 8), m.flag(CF)
    target = m.modrm(member, size)
    target.set(alu(m, 0 if member == 0 else 5, target.get(), 1, size))
    m.flags(c=carry)


def push_register(m, op):
    value = m.r[WORD[op & 7]]
    m.push(value - 2 if op == 0x54 else value)  # SP is pushed as it is afterwards


def pop_register(m, op):
    m.r[WORD[op & 7]] = m.pop()


def push_segment(m, op):
    m.push(m.r[SEGMENT[op >> 3]])


def pop_segment(m, op):
    m.r[SEGMENT[op >> 3]] = m.pop()


def condition(m, code):
    o, c, z, s, p = (m.flag(bit) for bit in (OF, CF, ZF, SF, PF))
    held = [o, c, z, c or z, s, p, s != o, z or s != o][code >> 1]
    return bool(held) != bool(code & 1)


def jump_if(m, op, held):
    displacement = m.immediate(8)
    if held:
        m.r["ip"] = (m.r["ip"] + signed(displacement, 8)) & 0xFFFF


def conditional_jump(m, op):
    jump_if(m, op, condition(m, op & 15))


def loop(m, op):
    if op != 0xE3:
        m.r["cx"] = (m.r["cx"] - 1) & 0xFFFF
    zero = m.r["cx"] == 0
    jump_if(m, op, zero if op == 0xE3 else not zero and (op == 0xE2 or m.flag(ZF) == (op == 0xE1)))


def move(m, op):
    size, reg = (16 if op & 1 else 8), m.rng.randrange(8)
    other, operand = Operand(m, size, (WORD if size == 16 else BYTE)[reg]), m.modrm(reg, size)
    target, source = (other, operand) if op & 2 else (operand, other)
    target.set(source.get())


def exchange(m, op):
    size, reg = (16 if op & 1 else 8), m.rng.randrange(8)
    a, b = Operand(m, size, (WORD if size == 16 else BYTE)[reg]), m.modrm(reg, size)
    x, y = a.get(), b.get()
    b.set(x)
    a.set(y)


def exchange_ax(m, op):
    name = WORD[op & 7]
    m.r["ax"], m.r[name] = m.r[name], m.r["ax"]


def move_immediate(m, op):
    if op >= 0xB8:
        m.set(WORD[op & 7], m.immediate(16))
    else:
        m.set(BYTE[op & 7], m.immediate(8))


def move_segment(m, op):
    reg = m.rng.choice([0, 2, 3] if op == 0x8E else [0, 1, 2, 3])
    operand = m.modrm(reg, 16)
    if op == 0x8C:
        operand.set(m.r[SEGMENT[reg]])
    else:
        m.r[SEGMENT[reg]] = operand.get()


def move_accumulator(m, op):
    size, offset = (16 if op & 1 else 8), m.immediate(16)
    if offset > 0xFFF0:
        raise Again
    memory, register = Operand(m, size, None, "ds", offset), Operand(m, size, "ax" if op & 1 else "al")
    target, source = (memory, register) if op & 2 else (register, memory)
    target.set(source.get())


def load_address(m, op):
    reg = m.rng.randrange(8)
    operand = m.modrm(reg, 16, memory=True)
    if op == 0x8D:
        m.r[WORD[reg]] = operand.offset
        return
    value = operand.get()
    m.r["es" if op == 0xC4 else "ds"], m.r[WORD[reg]] = m.read(operand.segment, operand.offset + 2, 16), value


def test(m, op):
    if op >= 0xA8:
        size = 16 if op & 1 else 8
        alu(m, 4, m.get("ax" if op & 1 else "al"), m.immediate(size), size)
        return
    size, reg = (16 if op & 1 else 8), m.rng.randrange(8)
    operand = m.modrm(reg, size)
    alu(m, 4, operand.get(), m.get((WORD if size == 16 else BYTE)[reg]), size)


def shift(m, op, member):
    size = 16 if op & 1 else 8
    if op >= 0xD2:
        m.choose("cl", m.rng.choice([0, 1, 3, 7, 9, 17, 31, 33, 40]))
    target = m.modrm(member, size)
    value, count = target.get(), m.get("cl") if op >= 0xD2 else 1
    top, mask = 1 << (size - 1), (1 << size) - 1
    for _ in range(count):
        carry, old = m.flag(CF), value
        out = bool(value & (top if member in (0, 2, 4) else 1))
        value = {
            0: (value << 1 | out) & mask, 1: value >> 1 | out * top,
            2: (value << 1 | carry) & mask, 3: value >> 1 | carry * top,
            4: value << 1 & mask, 5: value >> 1, 7: value >> 1 | value & top,
        }[member]
        m.flags(c=out, o=(old ^ value) & top)
        if member in (0, 2, 4):
            m.flags(o=bool(value & top) != out)
    if count and member >= 4:
        m.result_flags(value, size)
    target.set(value)


def string(m, op):
    size = 16 if op & 1 else 8
    step = -(size // 8) if m.flag(DF) else size // 8
    kind = op & 0xFE
    source, target = kind in (0xA4, 0xA6, 0xAC), kind != 0xAC
    accumulator = "ax" if size == 16 else "al"

    def once():
        si, di = m.r["si"], m.r["di"]
        if max(si * source, di * target) > 0xFFF0 or min(si if source else 99, di if target else 99) < 8:
            raise Again
        if kind == 0xA4:
            m.write("es", di, m.read("ds", si, size), size)
        elif kind == 0xA6:
            alu(m, 7, m.read("ds", si, size), m.read("es", di, size), size)
        elif kind == 0xAA:
            m.write("es", di, m.get(accumulator), size)
        elif kind == 0xAC:
            m.set(accumulator, m.read("ds", si, size))
        else:
            alu(m, 7, m.get(accumulator), m.read("es", di, size), size)
        if source:
            m.r["si"] = (si + step) & 0xFFFF
        if target:
            m.r["di"] = (di + step) & 0xFFFF

    prefix = m.code[0] if m.code[0] in (0xF2, 0xF3) else None
    if prefix is None:
        once()
        return
    m.choose("cx", m.rng.choice([0, 1, 5, 9]))
    while m.r["cx"]:
        once()
        m.r["cx"] -= 1
        if kind in (0xA6, 0xAE) and m.flag(ZF) != (prefix == 0xF3):
            break


def multiply(m, op, member):
    size = 16 if op & 1 else 8
    operand = m.modrm(member, size)
    value, accumulator = operand.get(), m.get("ax" if size == 16 else "al")
    if member == 5:
        value, accumulator = signed(value, size), signed(accumulator, size)
    product = value * accumulator
    if size == 16:
        m.r["dx"] = product >> 16 & 0xFFFF
    m.r["ax"] = product & 0xFFFF
    fits = product >> size == 0 if member == 4 else -(1 << size - 1) <= product < 1 << size - 1
    m.flags(c=not fits, o=not fits)


def divide(m, op, member):
    size = 16 if op & 1 else 8
    if m.rng.random() < 0.75:
        # Small dividends, so that most divisions have a result.
        m.choose("dx", m.rng.randrange(4))
        m.choose("ax", m.r["ax"] if op & 1 else m.r["ax"] & 0x1FFF)
    operand = m.modrm(member, size)
    value = operand.get()
    dividend = m.r["dx"] << 16 | m.r["ax"] if size == 16 else m.r["ax"]
    if member == 7:
        value, dividend = signed(value, size), signed(dividend, 2 * size)
    quotient = abs(dividend) // abs(value) if value else 1 << 40
    if (dividend < 0) != (value < 0):
        quotient = -quotient
    bound = (1 << size) - 1 if member == 6 else (1 << size - 1) - 1
    if abs(quotient) > bound:
        m.interrupt(0)
        return
    remainder = dividend - quotient * value
    if size == 16:
        m.r["ax"], m.r["dx"] = quotient & 0xFFFF, remainder & 0xFFFF
    else:
        m.r["ax"] = quotient & 0xFF | (remainder & 0xFF) << 8


def unary(m, op, member):
    size = 16 if op & 1 else 8
    operand = m.modrm(member, size)
    if member == 0:
        alu(m, 4, operand.get(), m.immediate(size), size)
    elif member == 2:
        operand.set(~operand.get() & (1 << size) - 1)
    else:
        operand.set(alu(m, 5, 0, operand.get(), size))


def near(m, op):
    displacement = m.immediate(8 if op == 0xEB else 16)
    if op == 0xE8:
        m.push(m.r["ip"])
    m.r["ip"] = (m.r["ip"] + (signed(displacement, 8) if op == 0xEB else displacement)) & 0xFFFF


def far(m, op):
    offset, segment = m.immediate(16), m.immediate(16)
    if op == 0x9A:
        m.push(m.r["cs"])
        m.push(m.r["ip"])
    m.r["cs"], m.r["ip"] = segment, offset


def ret(m, op):
    extra = m.immediate(16) if op in (0xC2, 0xCA) else 0
    m.r["ip"] = m.pop()
    if op >= 0xCA:
        m.r["cs"] = m.pop()
    m.r["sp"] = (m.r["sp"] + extra) & 0xFFFF


def group5(m, op, member):
    operand = m.modrm(member, 16, memory=True if member in (3, 5) else None)
    if member == 6 and operand.register == "sp":
        raise Again
    target = operand.get()
    if member in (3, 5):
        segment = m.read(operand.segment, operand.offset + 2, 16)
    if member == 3:
        m.push(m.r["cs"])
    if member in (2, 3):
        m.push(m.r["ip"])
    if member == 6:
        m.push(target)
    else:
        m.r["ip"] = target
    if member in (3, 5):
        m.r["cs"] = segment


def interrupts(m, op):
    if op == 0xCC:
        m.interrupt(3)
    elif op == 0xCE:
        if m.flag(OF):
            m.interrupt(4)
    else:
        number = m.rng.choice([0x10, 0x21, 0x33, 0x67])
        m.fetch(number)
        m.interrupt(number)


def return_from_interrupt(m, op):
    m.r["ip"], m.r["cs"] = m.pop(), m.pop()
    m.r["flags"] = 0xF002 | m.pop() & 0xFD5


def flags_on_stack(m, op):
    if op == 0x9C:
        m.push(m.r["flags"])
    else:
        m.r["flags"] = 0xF002 | m.pop() & 0xFD5


def flags_in_ah(m, op):
    if op == 0x9F:
        m.set("ah", m.r["flags"] & 0xD7)
    else:
        m.r["flags"] = m.r["flags"] & ~0xD5 | m.get("ah") & 0xD5


def flag_instruction(m, op):
    m.flags(**{0xF5: {"c": not m.flag(CF)}, 0xF8: {"c": 0}, 0xF9: {"c": 1}, 0xFA: {"i": 0}, 0xFB: {"i": 1},
               0xFC: {"d": 0}, 0xFD: {"d": 1}}[op])


def widen(m, op):
    if op == 0x98:
        m.r["ax"] = signed(m.get("al"), 8) & 0xFFFF
    else:
        m.r["dx"] = 0xFFFF if m.r["ax"] >> 15 else 0


def decimal(m, op):
    """DAA and DAS."""
    al, carry = m.get("al"), m.flag(CF)
    if m.flag(AF) and 0x9A <= al <= 0x9F or op == 0x2F and al < 6 and m.flag(AF):
        raise Again  # an 8088 is said not to do what the manual says
    sign = 1 if op == 0x27 else -1
    low, high = (al & 15) > 9 or m.flag(AF), al > 0x99 or carry
    m.set("al", al + sign * (6 * bool(low) + 0x60 * bool(high)))
    m.flags(a=low, c=high)
    m.result_flags(m.get("al"), 8)


def ascii_adjust(m, op):
    """AAA and AAS: AL and AH apart, as the 8088 has it."""
    adjust = (m.get("al") & 15) > 9 or m.flag(AF)
    sign = 1 if op == 0x37 else -1
    if adjust:
        m.set("al", m.get("al") + sign * 6)
        m.set("ah", m.get("ah") + sign)
    m.set("al", m.get("al") & 15)
    m.flags(a=adjust, c=adjust)


def adjust_product(m, op):
    base = m.rng.choice([10, 10, 7, 0 if op == 0xD4 else 3])
    m.fetch(base)
    al, ah = m.get("al"), m.get("ah")
    if op == 0xD4 and base == 0:
        m.interrupt(0)
        return
    m.r["ax"] = (al // base) << 8 | al % base if op == 0xD4 else (al + ah * base) & 0xFF
    m.result_flags(m.get("al"), 8)


def translate(m, op):
    offset = (m.r["bx"] + m.get("al")) & 0xFFFF
    m.set("al", m.byte("ds", offset))


def carry_to_al(m, op):
    """SALC, which no manual has."""
    m.set("al", 0xFF if m.flag(CF) else 0)


def read_port(m, op):
    if op < 0xE6:
        m.fetch(m.rng.choice([0x20, 0x42, 0x61, 0x80]))
    else:
        m.choose("dx", m.rng.choice([0x201, 0x278, 0x3C4]))
    m.set("ax" if op & 1 else "al", 0xFFFF)


def move_to_operand(m, op, member):
    size = 16 if op & 1 else 8
    operand = m.modrm(member, size)
    operand.set(m.immediate(size))


def pop_operand(m, op, member):
    # The stack pointer that the address is formed with would be a question of its own: no base is SP.
    operand = m.modrm(member, 16)
    operand.set(m.pop())


def pop_cs(m, op):
    m.r["cs"] = m.pop()


def plain(opcodes, act, **notes):
    return [(op, None, act, notes) for op in opcodes]


def group(opcodes, members, act, **notes):
    return [(op, member, act, notes) for op in opcodes for member in members]


FORMS = (
    plain([op for op in range(0x40) if op & 7 < 6 and op >> 3 in (1, 4, 6)], alu_forms, undefined=AF)
    + plain([op for op in range(0x40) if op & 7 < 6 and op >> 3 not in (1, 4, 6)], alu_forms)
    + plain([0x06, 0x0E, 0x16, 0x1E], push_segment) + plain([0x07, 0x17, 0x1F], pop_segment) + plain([0x0F], pop_cs)
    + plain([0x27, 0x2F], decimal, undefined=OF) + plain([0x37, 0x3F], ascii_adjust, undefined=OF | SF | ZF | PF)
    + plain([0x40, 0x43, 0x4D, 0x4F], step_register) + plain([0x50, 0x54, 0x57], push_register)
    + plain([0x58, 0x5C, 0x5F], pop_register) + plain([0x62, 0x6F], conditional_jump)
    + plain(range(0x70, 0x80), conditional_jump)
    + group([0x80, 0x81, 0x83], [1, 4, 6], alu_immediate, undefined=AF)
    + group([0x80, 0x81, 0x83], [0, 2, 3, 5, 7], alu_immediate)
    + plain([0x84, 0x85, 0xA8, 0xA9], test, undefined=AF) + plain([0x86, 0x87], exchange)
    + plain([0x88, 0x89, 0x8A, 0x8B], move) + plain([0x8C, 0x8E], move_segment)
    + plain([0x8D, 0xC4, 0xC5], load_address) + group([0x8F], [0], pop_operand)
    + plain([0x90, 0x91, 0x96], exchange_ax) + plain([0x98, 0x99], widen) + plain([0x9A, 0xEA], far)
    + plain([0x9C, 0x9D], flags_on_stack) + plain([0x9E, 0x9F], flags_in_ah)
    + plain([0xA0, 0xA1, 0xA2, 0xA3], move_accumulator)
    + plain([0xA4, 0xA5, 0xA6, 0xA7, 0xAA, 0xAB, 0xAC, 0xAD, 0xAE, 0xAF], string)
    + plain([0xB0, 0xB7, 0xB8, 0xBF], move_immediate) + plain([0xC2, 0xC3, 0xCA, 0xCB], ret)
    + group([0xC6, 0xC7], [0], move_to_operand) + plain([0xCC, 0xCD, 0xCE], interrupts)
    + plain([0xCF], return_from_interrupt)
    + group([0xD0, 0xD1], [0, 1, 2, 3], shift) + group([0xD0, 0xD1], [4, 5, 7], shift, undefined=AF)
    + group([0xD2, 0xD3], [0, 1, 2, 3], shift, undefined=OF)
    + group([0xD2, 0xD3], [4, 5, 7], shift, undefined=OF | AF | CF)
    + plain([0xD4, 0xD5], adjust_product, undefined=OF | AF | CF) + plain([0xD6], carry_to_al)
    + plain([0xD7], translate) + plain([0xE0, 0xE1, 0xE2, 0xE3], loop) + plain([0xE4, 0xE5, 0xEC, 0xED], read_port)
    + plain([0xE8, 0xE9, 0xEB], near) + plain([0xF5, 0xF8, 0xF9, 0xFA, 0xFB, 0xFC, 0xFD], flag_instruction)
    + group([0xF6, 0xF7], [0], unary, undefined=AF) + group([0xF6, 0xF7], [2, 3], unary)
    + group([0xF6, 0xF7], [4, 5], multiply, undefined=SF | ZF | AF | PF)
    + group([0xF6, 0xF7], [6, 7], divide, undefined=ARITHMETIC)
    + group([0xFE, 0xFF], [0, 1], step_operand) + group([0xFF], [2, 3, 4, 5, 6], group5)
)




# What an 8088 does at the ends of things, and where later processors went another way.

def word_at_segment_end(m, op):
    m.fetch(0xFF, 0xFF)
    m.r["ax"] = m.read("ds", 0xFFFF, 16)


def word_beyond_megabyte(m, op):
    m.fetch(0x20, 0x01)
    m.r["ax"] = m.read("ds", 0x0120, 16)


def nothing(m, op):
    pass


def write_exit_port(m, op):
    m.fetch(0xF4)


def store_real(m, op):
    """FST dword [si], passed over: an 8088 without an 8087 reads the operand, for the bus, and that is all."""
    m.fetch(0x14)
    m.read("ds", m.r["si"], 16)


def divide_by_bl(m, op):
    m.fetch(0xFB)
    quotient = signed(m.r["ax"], 16) // m.get("bl")
    if quotient == -128:
        m.interrupt(0)
    else:
        m.set("al", -quotient if m.code[0] == 0xF3 else quotient)
        m.set("ah", signed(m.r["ax"], 16) % m.get("bl"))


def interrupt_80(m, op):
    m.fetch(0x80)
    m.interrupt(0x80)


EDGES = [
    (0xA1, word_at_segment_end, None, {}),
    (0xA1, word_beyond_megabyte, None, {"ds": 0xFFFF}),
    (0x90, nothing, None, {"ip": 0xFFFF}),
    (0x53, push_register, None, {"sp": 1}),
    (0xE6, write_exit_port, None, {}),
    (0xD9, store_real, None, {"si": 0x1234}),
    (0xF6, divide_by_bl, None, {"ax": 0xFF80, "bx": 1}),
    (0xF6, divide_by_bl, 0xF3, {"ax": 60, "bx": 6}),
    (0xCD, interrupt_80, None, {}),
]


def vector(op, member, act, seed, prefix=None, start=None):
    for attempt in range(1000):
        m = Machine(random.Random(f"{op:02x} {member} {seed} {attempt}"))
        m.r.update(start or {})
        m.start = dict(m.r)
        try:
            m.fetch(*([] if prefix is None else [prefix]), op)
            act(m, op) if member is None else act(m, op, member)
        except Again:
            continue
        return finished(m, op, member)
    raise SystemExit(f"no vector for {op:02x}")


def finished(m, op, member):
    order = ["ax", "bx", "cx", "dx", "cs", "ss", "ds", "es", "sp", "bp", "si", "di", "ip", "flags"]
    registers = {name: m.r[name] for name in order if m.r[name] != m.start[name]}
    memory = [(at, value) for at, value in sorted(m.memory.items()) if value != m.initial[at]]
    form = f"{op:02x}" + ("" if member is None else f".{member}")
    return {
        "name": f"{form} ({bytes(m.code).hex(' ')})", "bytes": m.code,
        "initial": {"regs": {name: m.start[name] for name in order}, "ram": sorted(m.initial.items()), "queue": []},
        "final": {"regs": registers, "ram": memory, "queue": []},
    }


def vectors():
    for op, member, act, _ in FORMS:
        for number in range(PER_FORM):
            prefix = None
            if act is string and number:
                prefix = 0xF2 if number == 2 and op & 0xF6 == 0xA6 else 0xF3
            yield vector(op, member, act, number, prefix)
    for number, (op, act, prefix, start) in enumerate(EDGES):
        yield vector(op, None, act, f"edge {number}", prefix, start)


def metadata():
    opcodes = {}
    for op, member, _, notes in FORMS:
        entry = {"status": "normal"}
        if "undefined" in notes:
            entry["flags-mask"] = 0xFFFF & ~notes["undefined"]
        if member is None:
            opcodes[f"{op:02X}"] = entry
        else:
            opcodes.setdefault(f"{op:02X}", {"reg": {}})["reg"][str(member)] = entry
    return {"cpu": "8088", "generator": "generate.py", "opcodes": opcodes}


def main():
    directory = Path(__file__).parent
    rows = [json.dumps({**row, "idx": index}, separators=(",", ":")) for index, row in enumerate(vectors())]
    (directory / "8088-written.json").write_text("[\n" + ",\n".join(rows) + "\n]\n")
    lines = [f"    {json.dumps(key)}: {json.dumps(value)}" for key, value in sorted(metadata()["opcodes"].items())]
    head = '{\n  "cpu": "8088",\n  "generator": "generate.py",\n  "opcodes": {\n'
    (directory / "metadata.json").write_text(head + ",\n".join(lines) + "\n  }\n}\n")


if __name__ == "__main__":
    main()
