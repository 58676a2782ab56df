// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// What is supported of each call about memory, and what is refused: the rows of the documentation.
enum MemoryCallRows {
    static let rows: [CallRow] = [
        CallRow(
            calls: [.brk], supported: "as far as memory is left and nothing is in the way", refused: "the break stays"),
        CallRow(
            calls: [.mmap],
            supported:
                "anonymous memory and private or read-only file mappings; FIXED, FIXED_NOREPLACE, 32BIT, GROWSDOWN, NORESERVE, "
                + "STACK, POPULATE; reservations without rights, and stacks that are not used, cost nothing",
            refused:
                "writable shared files ENODEV; HUGETLB ENOMEM; below 64 KiB EPERM; writable memory beyond what is free, or 16,384 regions, "
                + "ENOMEM"),
        CallRow(
            calls: [.munmap, .mprotect], supported: "as Linux, taking effect at once",
            refused: "shared files made writable EACCES"),
        CallRow(
            calls: [.mremap], supported: "MAYMOVE and FIXED, within one region; pages move without being copied",
            refused: "DONTUNMAP and an old size of 0 EINVAL"),
        CallRow(
            calls: [.madvise],
            supported: "DONTNEED and FREE at once, POPULATE_READ and _WRITE; hints are accepted",
            refused: "REMOVE as on private memory; COLLAPSE and unknown advice EINVAL"),
        CallRow(calls: [.mincore], supported: "pages that were brought in"),
        CallRow(
            calls: [.msync, .mlock, .mlock2, .munlock, .mlockall, .munlockall],
            supported: "nothing to do: no memory is paged out", refused: "gaps ENOMEM"),
    ]
}
