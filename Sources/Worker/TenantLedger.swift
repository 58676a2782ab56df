// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// What each tenant has beside its jobs, and what became of those that are gone.
struct TenantLedger {
    /// Tenants that have nothing any more are remembered as long as there are no more than so many in all.
    static let rememberedTenants = 1024

    struct Entry {
        var connections = 0
        /// Its jobs that have not been forgotten.
        var roster = JobRoster()
        /// Announced bytes of images on their way.
        var uploadBytes: UInt64 = 0
        var slotNanoseconds: UInt64 = 0
        var finished: UInt64 = 0, failed: UInt64 = 0, refused: UInt64 = 0

        var hasNothing: Bool { connections == 0 && uploadBytes == 0 && roster.count == 0 }
    }

    private var entries: [Tenant: Entry] = [:]

    subscript(tenant: Tenant) -> Entry {
        get { entries[tenant] ?? Entry() }
        _modify { yield &entries[tenant, default: Entry()] }
    }

    mutating func noteEnd(of tenant: Tenant, slotNanoseconds: UInt64, failed: Bool) {
        self[tenant].slotNanoseconds &+= slotNanoseconds
        self[tenant].finished += 1
        if failed { self[tenant].failed += 1 }
    }

    /// All that are known.
    var tenants: Dictionary<Tenant, Entry>.Keys { entries.keys }

    /// Before somebody new comes: forgets all who have nothing, if there are many.
    mutating func makeRoom() {
        guard entries.count >= Self.rememberedTenants else { return }
        entries = entries.filter { !$0.value.hasNothing }
    }
}
