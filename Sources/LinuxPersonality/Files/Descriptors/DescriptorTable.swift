// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// Descriptors by their numbers; a new one is the lowest that is free.
struct DescriptorTable: Sendable {
    /// What `RLIMIT_NOFILE` says: how many descriptors there can be.
    static let limit = 1024

    private var slots: [Descriptor?] = []
    /// No number below this is free.
    private var firstFree = 0

    subscript(_ number: Int32) -> Descriptor? {
        get { number >= 0 && Int(number) < slots.count ? slots[Int(number)] : nil }
        set {
            guard number >= 0, Int(number) < Self.limit else { return }
            while slots.count <= Int(number) { slots.append(nil) }
            slots[Int(number)] = newValue
            if newValue == nil { firstFree = min(firstFree, Int(number)) }
        }
    }

    /// The numbers that are taken.
    var numbers: [Int32] { slots.indices.filter { slots[$0] != nil }.map { Int32($0) } }

    /// The lowest free number, from one on.
    mutating func free(from lowest: Int = 0) throws(Errno) -> Int32 {
        var number = max(lowest, firstFree)
        while number < slots.count, slots[number] != nil { number += 1 }
        if lowest <= firstFree { firstFree = number }
        guard number < Self.limit else { throw .emfile }
        return Int32(number)
    }
}
