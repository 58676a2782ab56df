// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Foundation

/// One instruction with the state before and after it, as seen on a real 8088: an element of a file of SingleStepTests/8088.
///
/// What that format says of bus cycles and of the prefetch queue is not read: KVM shows neither.
struct TestVector: Sendable, Hashable {
    /// The registers that vectors speak of.
    enum Register: String, Sendable, Hashable, CaseIterable, CodingKey {
        case ax, bx, cx, dx, cs, ss, ds, es, sp, bp, si, di, ip, flags
    }

    /// The disassembly, for people.
    var name: String
    /// The instruction with its prefixes.
    var bytes: [UInt8]
    /// Its place in its file, where that is told.
    var index: Int?
    /// Every register before the instruction.
    var initialRegisters: [Register: UInt16]
    /// Memory before it: at least every byte that the instruction reads.
    var initialMemory: [UInt32: UInt8]
    /// The registers that differ afterwards.
    var changedRegisters: [Register: UInt16]
    /// The bytes that differ afterwards.
    var changedMemory: [UInt32: UInt8]

    /// The addresses of an 8088: 1 MiB.
    static let addressLimit: UInt32 = 1 << 20

    /// A register before the instruction.
    func initial(_ register: Register) -> UInt16 { initialRegisters[register] ?? 0 }

    /// A register as it should be afterwards.
    func expected(_ register: Register) -> UInt16 { changedRegisters[register] ?? initial(register) }

    /// Memory as it should be afterwards: every byte that the vector speaks of.
    var expectedMemory: [UInt32: UInt8] { initialMemory.merging(changedMemory) { $1 } }
}

extension TestVector: Decodable {
    private enum Key: String, CodingKey {
        case name, bytes, initial, final, idx
        case oldIndex = "test_num"
    }

    private struct State: Decodable {
        var regs: [Register: UInt16] = [:]
        var ram: [UInt32: UInt8] = [:]

        private enum Key: String, CodingKey { case regs, ram }

        init(from decoder: any Decoder) throws {
            let container = try decoder.container(keyedBy: Key.self)
            if container.contains(.regs) {
                let registers = try container.nestedContainer(keyedBy: Register.self, forKey: .regs)
                for register in registers.allKeys {
                    let number = try registers.decode(Int.self, forKey: register)
                    regs[register] = try Self.word(number, at: registers.codingPath)
                }
            }
            let cells = try container.decodeIfPresent([Cell].self, forKey: .ram) ?? []
            for cell in cells { ram[cell.address] = cell.value }
        }

        /// Some releases write values above 0x7FFF as negative ones.
        private static func word(_ number: Int, at path: [any CodingKey]) throws -> UInt16 {
            guard (-0x8000...0xFFFF).contains(number) else {
                throw DecodingError.dataCorrupted(
                    .init(codingPath: path, debugDescription: "\(number) does not fit in 16 bits"))
            }
            return UInt16(truncatingIfNeeded: number)
        }
    }

    /// An address and its byte, as an array of two numbers.
    private struct Cell: Decodable {
        var address: UInt32
        var value: UInt8

        init(from decoder: any Decoder) throws {
            var container = try decoder.unkeyedContainer()
            (address, value) = (try container.decode(UInt32.self), try container.decode(UInt8.self))
            guard address < addressLimit, container.isAtEnd else {
                throw DecodingError.dataCorruptedError(
                    in: container, debugDescription: "not an address below 1 MiB and a byte")
            }
        }
    }

    init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: Key.self)
        name = try container.decode(String.self, forKey: .name)
        bytes = try container.decode([UInt8].self, forKey: .bytes)
        index = try container.decodeIfPresent(Int.self, forKey: .idx)
        if index == nil { index = try container.decodeIfPresent(Int.self, forKey: .oldIndex) }
        let initial = try container.decode(State.self, forKey: .initial)
        let final = try container.decode(State.self, forKey: .final)
        (initialRegisters, initialMemory) = (initial.regs, initial.ram)
        (changedRegisters, changedMemory) = (final.regs, final.ram)
        if let missing = Register.allCases.first(where: { initial.regs[$0] == nil }) {
            throw DecodingError.dataCorruptedError(
                forKey: .initial, in: container, debugDescription: "initial.regs lacks \(missing.rawValue)")
        }
        guard !bytes.isEmpty, !initialMemory.isEmpty else {
            throw DecodingError.dataCorruptedError(
                forKey: .bytes, in: container, debugDescription: "there is no instruction")
        }
    }
}
