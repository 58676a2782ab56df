// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import GuestImage
import JobModel

/// What holds for every plan, whatever the image was.
struct PlanCheck {
    let plan: LaunchPlan
    let image: [UInt8]
    let options: LaunchOptions

    func check() {
        checkRegions()
        checkPieces()
        checkSegments()
        checkWorker()
    }

    /// By rising address, none over another, all in memory.
    private func checkRegions() {
        var end: UInt64 = 0
        for region in plan.map.regions {
            precondition(region.count > 0, "an empty region")
            precondition(region.address >= end, "a region over another")
            precondition(region.count <= plan.memoryBytes - region.address, "a region outside memory")
            precondition(region.bytes.count <= region.count, "more bytes than the region has")
            end = region.end
        }
        precondition(plan.leastMemoryBytes <= plan.memoryBytes || plan.format == .linux, "more than there is")
    }

    private func checkPieces() {
        let pieces = plan.pieces
        var (end, total) = (UInt64(0), 0)
        for piece in pieces {
            precondition(!piece.bytes.isEmpty && piece.address >= end, "a piece over another")
            end = piece.address + UInt64(piece.bytes.count)
            total += piece.bytes.count
        }
        precondition(end <= plan.memoryBytes, "a piece outside memory")
        precondition(pieces.count <= MemoryRange.pieceLimit, "too many pieces")
        // Tables, texts and lists beside the image and the modules: page tables, 64 modules' records, a command line.
        let modules = options.modules.reduce(0) { $0 + $1.bytes.count + $1.text.count + 4 }
        precondition(
            total <= image.count + modules + (options.commandLine?.count ?? 0) + 0x1_0000, "bytes from nowhere")
    }

    /// All that the program headers claim is the image's, as another reader of the file sees it.
    private func checkSegments() {
        guard plan.facts.contains(where: { $0.name == "file" && $0.text.hasPrefix("ELF") }) else { return }
        for claimed in ProgramHeaders.loaded(image) {
            for region in plan.map.regions where region.address < claimed.upperBound && region.end > claimed.lowerBound
            {
                precondition(region.role == .image || region.role == .zeros, "ours over the image's")
            }
        }
    }

    /// The worker's own checks find nothing wrong, and it puts nothing of its own into memory.
    private func checkWorker() {
        guard plan.rom == nil else { return }
        do throws(LaunchError) {
            let job = try plan.job(JobSpec())
            do throws(Refusal) {
                let layout = try GuestLayout(flat: job.image, spec: job.spec)
                precondition(layout.pieces.count == job.spec.pieces.count, "tables of the worker's own")
            } catch {
                precondition(plan.format == .flat, "the worker refuses: \(error)")
            }
        } catch {
            preconditionFailure("no job of a plan: \(error)")
        }
    }
}

/// A reader of program headers that shares nothing with the one that is tested.
enum ProgramHeaders {
    /// Where the segments of a file go that a plan was made of.
    static func loaded(_ file: [UInt8]) -> [Range<UInt64>] {
        let is32 = file[4] == 1
        let table = number(file, is32 ? 28 : 32, is32 ? 4 : 8)
        let count = number(file, is32 ? 44 : 56, 2)
        return (0..<count).compactMap { index in
            let place = Int(table + index * (is32 ? 32 : 56))
            guard number(file, place, 4) == 1 else { return nil }
            let address = is32 ? number(file, place + 12, 4) : number(file, place + 24, 8)
            let bytes = is32 ? number(file, place + 20, 4) : number(file, place + 40, 8)
            return bytes == 0 ? nil : address..<address + bytes
        }
    }

    private static func number(_ file: [UInt8], _ place: Int, _ bytes: Int) -> UInt64 {
        file[place..<place + bytes].reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }
}
