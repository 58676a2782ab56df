// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

@testable import GuestImage

/// A kernel file made by hand: an ELF header of either class, program headers, and what follows them.
struct HandMadeKernel {
    struct Header {
        var type: UInt64 = 1
        var flags: UInt64 = 5
        var offset: UInt64 = 0x200
        var virtual: UInt64?
        var physical: UInt64 = 0x10_0000
        var fileBytes: UInt64 = 16
        var memoryBytes: UInt64 = 16
        var alignment: UInt64 = 4
    }

    var is32 = false
    var headers = [Header()]
    var entry: UInt64 = 0x10_0000
    /// What lies at byte 0x200 of the file, behind the headers.
    var body: [UInt8] = [0xFA, 0xF4] + [UInt8](repeating: 0x90, count: 62)
    /// Numbers of so many bytes that are written over the file at the end.
    var patches: [(offset: Int, bytes: Int, value: UInt64)] = []

    static let bodyOffset = 0x200

    var headerBytes: Int { is32 ? 52 : 64 }

    var bytes: [UInt8] {
        let wide = { (value: UInt64) in Self.number(value, is32 ? 4 : 8) }
        let half = { (value: UInt64) in Self.number(value, 2) }
        var file: [UInt8] = [0x7F, 0x45, 0x4C, 0x46, is32 ? 1 : 2, 1, 1] + [UInt8](repeating: 0, count: 9)
        file += half(2) + half(is32 ? 3 : 62) + Self.number(1, 4) + wide(entry) + wide(UInt64(headerBytes)) + wide(0)
        file += Self.number(0, 4) + half(UInt64(headerBytes)) + half(is32 ? 32 : 56) + half(UInt64(headers.count))
        file += half(0) + half(0) + half(0)
        for header in headers { file += bytes(of: header) }
        file += [UInt8](repeating: 0, count: max(0, Self.bodyOffset - file.count)) + body
        for patch in patches {
            file.replaceSubrange(patch.offset..<patch.offset + patch.bytes, with: Self.number(patch.value, patch.bytes))
        }
        return file
    }

    private func bytes(of header: Header) -> [UInt8] {
        let wide = { (value: UInt64) in Self.number(value, is32 ? 4 : 8) }
        let (type, flags) = (Self.number(header.type, 4), Self.number(header.flags, 4))
        return type + (is32 ? [] : flags) + wide(header.offset) + wide(header.virtual ?? header.physical)
            + wide(header.physical) + wide(header.fileBytes) + wide(header.memoryBytes) + (is32 ? flags : [])
            + wide(header.alignment)
    }

    func patched(_ offset: Int, _ bytes: Int, _ value: UInt64) -> HandMadeKernel {
        var copy = self
        copy.patches.append((offset, bytes, value))
        return copy
    }

    static func number(_ value: UInt64, _ bytes: Int) -> [UInt8] {
        (0..<bytes).map { UInt8(truncatingIfNeeded: value >> UInt64($0 * 8)) }
    }

    /// Words of four bytes.
    static func words(_ values: [UInt64]) -> [UInt8] { values.flatMap { number($0, 4) } }

    /// A Multiboot header with the checksum that it must have.
    static func multiboot(flags: UInt64 = 3, _ addresses: [UInt64] = []) -> [UInt8] {
        words([0x1BAD_B002, flags, 0 &- (0x1BAD_B002 + flags)] + addresses)
    }

    /// A kernel whose segment begins with a Multiboot header.
    static func multibootKernel(flags: UInt64 = 3, is32: Bool = true) -> HandMadeKernel {
        var kernel = HandMadeKernel(is32: is32)
        kernel.entry = 0x10_000C
        kernel.body = multiboot(flags: flags) + [UInt8](repeating: 0xF4, count: 52)
        return kernel
    }

    /// A note as `PT_NOTE` segments have them.
    static func note(
        _ descriptor: [UInt8], name: [UInt8] = Array("Xen\0".utf8), type: UInt64 = 18
    ) -> [UInt8] {
        words([UInt64(name.count), UInt64(descriptor.count), type]) + name
            + [UInt8](repeating: 0, count: (4 - name.count % 4) % 4) + descriptor
            + [UInt8](repeating: 0, count: (4 - descriptor.count % 4) % 4)
    }

    /// A kernel with such notes, at byte 0x240 of the file.
    static func noteKernel(_ notes: [UInt8], is32: Bool = false) -> HandMadeKernel {
        var kernel = HandMadeKernel(is32: is32)
        kernel.body += notes
        kernel.headers.append(
            Header(type: 4, offset: 0x240, physical: 0, fileBytes: UInt64(notes.count), memoryBytes: 0))
        return kernel
    }
}

/// A `bzImage` made by hand: two sectors of setup, then 1 KiB of kernel.
struct HandMadeLinux {
    /// Fields by their places: bytes and value.
    var fields: [Int: (bytes: Int, value: UInt64)] = [
        0x1F1: (1, 1), 0x1F4: (4, 64), 0x1FE: (2, 0xAA55), 0x200: (2, 0x6AEB), 0x202: (4, 0x5372_6448),
        0x206: (2, 0x20F), 0x20E: (2, 0x180), 0x211: (1, 1), 0x22C: (4, 0x7FFF_FFFF), 0x230: (4, 0x20_0000),
        0x234: (1, 1), 0x235: (1, 21), 0x236: (2, 1), 0x238: (4, 2047), 0x258: (8, 0x100_0000), 0x260: (4, 0x2_0000),
    ]
    var count = 2048

    var bytes: [UInt8] {
        var file = [UInt8](repeating: 0x90, count: count)
        for index in 0..<min(0x400, count) { file[index] = 0 }
        for (place, field) in fields where place + field.bytes <= count {
            file.replaceSubrange(place..<place + field.bytes, with: HandMadeKernel.number(field.value, field.bytes))
        }
        let release = Array("6.1.0-x (somebody)".utf8)
        if count > 0x3A0 { file.replaceSubrange(0x380..<0x380 + release.count, with: release) }
        return file
    }

    func with(_ place: Int, _ value: UInt64) -> HandMadeLinux {
        var copy = self
        copy.fields[place]?.value = value
        return copy
    }
}

/// What a plan says to wrong input: the rule, the field and its value.
struct Wrong: Equatable, CustomStringConvertible {
    var rule: LaunchError.Rule
    var field: String
    var value: UInt64?

    init(_ rule: LaunchError.Rule, _ field: String, _ value: UInt64? = nil) {
        (self.rule, self.field, self.value) = (rule, field, value)
    }

    var description: String { "\(rule) \(field) \(value.map(\.hexadecimal) ?? "-")" }

    /// Nil where there is a plan.
    static func of(_ image: [UInt8], _ options: LaunchOptions = LaunchOptions()) -> Wrong? {
        do throws(LaunchError) {
            _ = try LaunchPlan(image, options)
            return nil
        } catch {
            return Wrong(error.rule, error.field, error.value)
        }
    }

    static func of(_ image: [UInt8], as format: ImageFormat, memory: UInt64? = nil) -> Wrong? {
        of(image, LaunchOptions(format: format, memoryBytes: memory))
    }
}

extension LaunchPlan {
    /// Guest memory as a kernel finds it.
    func number(at address: UInt64, bytes: Int) -> UInt64 {
        (0..<bytes).reversed().reduce(0) { $0 << 8 | UInt64(byte(at: address + UInt64($1))) }
    }

    func word(at address: UInt64) -> UInt64 { number(at: address, bytes: 4) }
    func long(at address: UInt64) -> UInt64 { number(at: address, bytes: 8) }

    func byte(at address: UInt64) -> UInt8 {
        guard let region = map.region(at: address) else { return 0 }
        let index = Int(address - region.address)
        return index < region.bytes.count ? region.bytes[region.bytes.startIndex + index] : 0
    }

    func text(at address: UInt64) -> String {
        var (text, place) = ([UInt8](), address)
        while byte(at: place) != 0 {
            text.append(byte(at: place))
            place += 1
        }
        return String(decoding: text, as: UTF8.self)
    }

    func regions(_ role: MemoryMap.Region.Role) -> [MemoryMap.Region] { map.regions.filter { $0.role == role } }
}
