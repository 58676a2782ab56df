// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Random bytes for a guest: the key stream of ChaCha20 (RFC 8439) under a key that is given.
///
/// The same seed brings forth the same bytes in every run; nobody who sees some of them can tell the others.
struct RandomStream: Sendable {
    private var state: [16 of UInt32]
    private var block: [16 of UInt32] = .init(repeating: 0)
    /// Bytes of `block` that were used.
    private var used = 64

    /// - Parameter seed: 32 bytes; missing ones are taken as zeros, more are not looked at.
    init(seed: [UInt8] = []) {
        state = .init(repeating: 0)
        let constants: [4 of UInt32] = [0x6170_7865, 0x3320_646E, 0x7962_2D32, 0x6B20_6574]
        for index in 0..<4 { state[index] = constants[index] }
        for (index, byte) in seed.prefix(32).enumerated() { state[4 + index / 4] |= UInt32(byte) << (index % 4 * 8) }
    }

    /// The next bytes.
    mutating func bytes(_ count: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count)
        while bytes.count < count {
            if used == 64 { refill() }
            bytes.append(UInt8(truncatingIfNeeded: block[used / 4] >> (used % 4 * 8)))
            used += 1
        }
        return bytes
    }

    private mutating func refill() {
        block = state
        for _ in 0..<10 {
            quarter(0, 4, 8, 12)
            quarter(1, 5, 9, 13)
            quarter(2, 6, 10, 14)
            quarter(3, 7, 11, 15)
            quarter(0, 5, 10, 15)
            quarter(1, 6, 11, 12)
            quarter(2, 7, 8, 13)
            quarter(3, 4, 9, 14)
        }
        for index in 0..<16 { block[index] &+= state[index] }
        used = 0
        state[12] &+= 1
        if state[12] == 0 { state[13] &+= 1 }
    }

    private mutating func quarter(_ a: Int, _ b: Int, _ c: Int, _ d: Int) {
        mix(a, b, d, 16)
        mix(c, d, b, 12)
        mix(a, b, d, 8)
        mix(c, d, b, 7)
    }

    /// Adds, and turns what that gives into a third word.
    private mutating func mix(_ sum: Int, _ addend: Int, _ turned: Int, _ bits: UInt32) {
        block[sum] &+= block[addend]
        let mixed = block[turned] ^ block[sum]
        block[turned] = mixed << bits | mixed >> (32 - bits)
    }
}
