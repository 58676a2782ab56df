// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import GuestImage
internal import JobModel
internal import KVM

/// What a job's result tells of the process.
extension LinuxProcess {
    /// How often memory was refused because there was no more. A program that dies after that probably died of it.
    public var refusals: UInt64 { space.refusals }

    /// The most bytes of guest memory that the process had at once.
    public var peakBytes: UInt64 { UInt64(space.frames.peak) * GuestMemory.pageBytes }

    /// Whether the program has said that it is ready since this was last asked.
    public mutating func takeReady() -> Bool {
        defer { hasSaidReady = false }
        return hasSaidReady
    }

    /// The function that an address is in, by the symbols of the file that is mapped there: "main+0x14". nil where nobody can tell.
    public func place(of address: UInt64) -> String? {
        let index = space.regions.firstIndex(endingBehind: address)
        guard index < space.regions.count, space.regions[index].start <= address,
            case .file(let file, let offset) = space.regions[index].content
        else { return nil }
        let fileOffset = address - space.regions[index].start + offset
        let bytes = file.bytes.bytes(from: 0, count: file.bytes.count)
        do throws(ELFError) {
            let segments = try ELFFile(bytes).segments
            let segment = segments.first { $0.fileOffset <= fileOffset && fileOffset - $0.fileOffset < $0.fileBytes }
            guard let segment else { return nil }
            let place = try ELFSymbols(bytes).function(at: segment.address + (fileOffset - segment.fileOffset))
            return place.map { String($0.description.prefix(ProgramReport.placeBytesLimit)) }
        } catch {
            return nil
        }
    }
}
