// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Dispatch
internal import Foundation
internal import JobModel

/// A core file in the making: written beside its place as it comes, and put there when it is complete.
///
/// Guest memory stands in the file as it stands in the guest, ``CoreHead/memoryOffset`` bytes later. Pages of zeros are not
/// written: they are holes, which take no place on the disk and which every reader sees as zeros.
final class CoreFile: Sendable {
    private static let page = 4096

    private let path: String
    private let temporaryPath: String
    private let handle: FileHandle
    private let memoryBytes: UInt64
    private let queue = DispatchQueue(label: "kvmjob.core")

    private init(path: String, temporaryPath: String, memoryBytes: UInt64) throws {
        let url = URL(fileURLWithPath: temporaryPath)
        try Data().write(to: url, options: .withoutOverwriting)
        // Guest memory is nobody's but the owner's, as a kernel's own cores are.
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: temporaryPath)
        handle = try FileHandle(forWritingTo: url)
        (self.path, self.temporaryPath, self.memoryBytes) = (path, temporaryPath, memoryBytes)
    }

    deinit {
        // What was not put in its place is of no use; where it was, there is nothing to remove.
        try? FileManager.default.removeItem(atPath: temporaryPath)
    }

    /// A new file for so much guest memory. A file that is there already stays as it is until the new one is complete.
    static func create(path: String, memoryBytes: UInt64) async throws(SystemReason) -> CoreFile {
        try check(path)
        let temporaryPath = "\(path).\(ProcessInfo.processInfo.processIdentifier).part"
        do {
            return try await DispatchQueue(label: "kvmjob.core").perform {
                try CoreFile(path: path, temporaryPath: temporaryPath, memoryBytes: memoryBytes)
            }
        } catch {
            throw SystemReason(error)
        }
    }

    /// Writes the pages of a record that are not zero.
    ///
    /// - Precondition: the record lies in guest memory.
    func write(_ record: MemoryRecord) async throws(SystemReason) {
        let handle = handle
        try await perform {
            for run in Self.runs(of: record) {
                try handle.seek(toOffset: CoreHead.memoryOffset + run.address)
                try handle.write(contentsOf: Data(run.bytes))
            }
        }
    }

    /// Writes what goes before memory, and puts the file in its place.
    func finish(_ head: CoreHead) async throws(SystemReason) {
        let (handle, path, temporaryPath, memoryBytes) = (handle, path, temporaryPath, memoryBytes)
        try await perform {
            try handle.truncate(atOffset: CoreHead.memoryOffset + memoryBytes)
            try handle.seek(toOffset: 0)
            try handle.write(contentsOf: Data(head.bytes(memoryBytes: memoryBytes)))
            try handle.close()
            // Foundation moves nothing onto a file that is there, and after its `replaceItemAt` nothing is there on Linux.
            if FileManager.default.fileExists(atPath: path) { try FileManager.default.removeItem(atPath: path) }
            try FileManager.default.moveItem(atPath: temporaryPath, toPath: path)
        }
    }

    /// Removes what was written.
    func discard() async {
        let temporaryPath = temporaryPath
        // Where that fails there is nothing to remove, or nobody to do it.
        try? await perform { try FileManager.default.removeItem(atPath: temporaryPath) }
    }

    private func perform(_ body: @escaping @Sendable () throws -> Void) async throws(SystemReason) {
        do { try await queue.perform(body) } catch { throw SystemReason(error) }
    }

    /// A core takes the place of a file, but of no directory and no device.
    private static func check(_ path: String) throws(SystemReason) {
        let type = (try? FileManager.default.attributesOfItem(atPath: path))?[.type] as? FileAttributeType
        guard type == nil || type == .typeRegular else { throw SystemReason(text: "it is there, and no regular file") }
        let folder = URL(fileURLWithPath: path).deletingLastPathComponent().path
        guard FileManager.default.fileExists(atPath: folder) else { throw SystemReason(text: "there is no \(folder)") }
    }

    /// The parts of a record between page boundaries, without those that are zero; neighbours stay together.
    static func runs(of record: MemoryRecord) -> [MemoryRecord] {
        var runs: [MemoryRecord] = []
        var rest = record.bytes[...]
        while !rest.isEmpty {
            let address = record.address + UInt64(rest.startIndex)
            let piece = rest.prefix(page - Int(address % UInt64(page)))
            rest = rest.dropFirst(piece.count)
            guard piece.contains(where: { $0 != 0 }) else { continue }
            if let last = runs.last, last.address + UInt64(last.bytes.count) == address {
                runs[runs.count - 1].bytes += piece
            } else {
                runs.append(MemoryRecord(address: address, bytes: Array(piece)))
            }
        }
        return runs
    }
}
