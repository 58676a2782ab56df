// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import CKVM

extension GuestMemory {
    /// Copies a part of an array in. Returns false, and changes nothing, when it does not fit.
    public borrowing func write(_ source: ArraySlice<UInt8>, at address: UInt64) -> Bool {
        guard contains(address, count: source.count) else { return false }
        unsafe source.withUnsafeBytes { raw in
            guard let from = raw.baseAddress, raw.count > 0 else { return }
            // SAFETY: the bounds were checked above.
            unsafe (base + Int(address)).copyMemory(from: from, byteCount: raw.count)
            note(address, count: raw.count)
        }
        return true
    }

    /// Copies bytes out, behind what an array has already. Returns false, and changes nothing, when they do not all lie inside.
    public borrowing func append(_ count: Int, at address: UInt64, to target: inout [UInt8]) -> Bool {
        guard contains(address, count: count) else { return false }
        // SAFETY: the bounds were checked above.
        unsafe target.append(contentsOf: UnsafeRawBufferPointer(start: base + Int(address), count: count))
        return true
    }

    /// Makes bytes zero. Returns false, and changes nothing, when they do not all lie inside.
    public borrowing func clear(_ count: Int, at address: UInt64) -> Bool {
        guard contains(address, count: count) else { return false }
        guard count > 0 else { return true }
        // SAFETY: the bounds were checked above.
        unsafe ckvm_zero(base + Int(address), UInt64(count))
        note(address, count: count)
        return true
    }

    /// How many bytes there are before the first zero, looking at `limit` of them at most; nil when those do not all lie inside.
    public borrowing func distanceToZero(from address: UInt64, limit: Int) -> Int? {
        guard contains(address, count: limit) else { return nil }
        // SAFETY: the bounds were checked above.
        return unsafe Int(ckvm_find_zero(base + Int(address), UInt64(limit)))
    }

    /// Some little-endian 64-bit words in a row; none when they do not all lie inside.
    public borrowing func words(at address: UInt64, count: Int) -> [UInt64] {
        guard count >= 0, count <= Int.max / 8, contains(address, count: count * 8) else { return [] }
        return unsafe [UInt64](unsafeUninitializedCapacity: count) { buffer, filled in
            // SAFETY: the bounds were checked above, and the buffer has room for as many words.
            unsafe UnsafeMutableRawBufferPointer(buffer).copyMemory(
                from: UnsafeRawBufferPointer(start: base + Int(address), count: count * 8))
            filled = count
        }
    }

    /// Stores some little-endian 64-bit words in a row. Returns false, and changes nothing, when they do not fit.
    public borrowing func setWords(_ words: [UInt64], at address: UInt64) -> Bool {
        guard contains(address, count: words.count * 8) else { return false }
        unsafe words.withUnsafeBytes { raw in
            guard let from = raw.baseAddress, raw.count > 0 else { return }
            // SAFETY: the bounds were checked above.
            unsafe (base + Int(address)).copyMemory(from: from, byteCount: raw.count)
            note(address, count: raw.count)
        }
        return true
    }
}
