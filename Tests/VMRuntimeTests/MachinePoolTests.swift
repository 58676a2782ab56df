// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Dispatch
import JobModel
import KVM
import Testing

@testable import VMRuntime

@Suite("A slot's machines between jobs", .enabled(if: Hardware.isThere, "no usable /dev/kvm"))
struct MachinePoolTests {
    private let foundry: MachineFoundry

    init() throws { foundry = try MachineFoundry() }

    /// Kinds that differ in nothing but their memory.
    private static func kind(_ mebibytes: UInt64) -> MachineKind { MachineKind(memoryBytes: mebibytes << 20) }

    /// One job's way through the pool: the number of the machine that it got.
    private func use(
        _ pool: inout MachinePool, _ kind: MachineKind, for tenant: UInt32? = nil, retires: Bool = false
    ) throws -> Int? {
        let machine = try pool.take(kind, for: tenant)
        let number = foundry.number(of: machine)
        if retires { machine.retire() }
        pool.putBack(consume machine)
        return number
    }

    @Test func `a job gets the machine of the last job of its kind`() throws {
        var pool = MachinePool(MachineKeeping(), make: foundry.make)
        let order: [UInt64] = [1, 2, 1, 1, 3, 2, 3, 1]
        let numbers = try order.map { try use(&pool, Self.kind($0)) }
        #expect(numbers == [0, 1, 0, 0, 2, 1, 2, 0])
        #expect(foundry.count == 3)
    }

    /// Admission asks the same, so that no machine that goes after its job is made as one that stays.
    @Test func `a machine is kept where its policy, its user and its memory allow it`() {
        func mayKeep(_ policy: MachinePolicy, _ bytes: UInt64, _ tenant: UInt32?, machines: Int = 1) -> Bool {
            MachineKeeping(policy: policy, machinesPerSlot: machines, memoryBytesPerSlot: 1 << 20)
                .mayKeepMachine(memoryBytes: bytes, of: tenant)
        }
        #expect(mayKeep(.pooled, 1 << 20, nil) && mayKeep(.tenant, 1 << 20, 7))
        #expect(!mayKeep(.tenant, 1 << 20, nil), "nobody can be sure to be its next user")
        #expect(!mayKeep(.fresh, 4096, 7))
        #expect(!mayKeep(.pooled, 1 << 20 | 4096, 7), "it has no room")
        #expect(!mayKeep(.pooled, 4096, 7, machines: 0))
    }

    @Test func `what is part of a kind keeps machines apart`() throws {
        let plain = Self.kind(1)
        var kinds = [plain, plain, plain, plain, plain]
        kinds[1].countsEmulation = true
        kinds[2].logsWrites = true
        kinds[3].countsPages = true
        kinds[4].memoryBytes += 4096
        var pool = MachinePool(MachineKeeping(machinesPerSlot: 5), make: foundry.make)
        for kind in kinds + kinds.reversed() { _ = try use(&pool, kind) }
        #expect(foundry.count == 5)
    }

    @Test func `so many are kept, and the one that was used longest ago goes`() throws {
        let keeping = MachineKeeping(machinesPerSlot: 2)
        var pool = MachinePool(keeping, make: foundry.make)
        for size: UInt64 in [1, 2, 1, 3] { _ = try use(&pool, Self.kind(size)) }
        keeping.settle()
        #expect([0, 1, 2].map(foundry.lives) == [true, false, true])
        let count = pool.count
        #expect(count == 2)
    }

    @Test func `so much guest memory is kept; a machine that has more by itself is not`() throws {
        let keeping = MachineKeeping(machinesPerSlot: 8, memoryBytesPerSlot: 4 << 20)
        var pool = MachinePool(keeping, make: foundry.make)
        for size: UInt64 in [1, 2, 3] { _ = try use(&pool, Self.kind(size)) }
        keeping.settle()
        // 1 + 3 fit, 2 + 3 do not; what is longest ago goes first.
        #expect([0, 1, 2].map(foundry.lives) == [false, false, true])
        _ = try use(&pool, Self.kind(1))
        _ = try use(&pool, Self.kind(5))
        keeping.settle()
        #expect([2, 3, 4].map(foundry.lives) == [true, true, false])
        let again = try use(&pool, Self.kind(1))
        #expect(again == 3, "a machine that is taken does not count any more, and counts once when it is back")
    }

    @Test func `a machine that must retire is not used again`() throws {
        let keeping = MachineKeeping()
        var pool = MachinePool(keeping, make: foundry.make)
        let numbers = [try use(&pool, Self.kind(1), retires: true), try use(&pool, Self.kind(1))]
        keeping.settle()
        #expect(numbers == [0, 1])
        #expect(!foundry.lives(0))
    }

    @Test func `of two machines of one kind, as a pause makes them, one is kept`() throws {
        let keeping = MachineKeeping()
        var pool = MachinePool(keeping, make: foundry.make)
        let paused = try pool.take(Self.kind(1), for: nil)
        _ = try use(&pool, Self.kind(1))
        pool.putBack(consume paused)
        keeping.settle()
        let count = pool.count
        #expect(count == 1)
        #expect(foundry.living == 1)
    }

    @Test func `users share no machine where they must not, and who has no user shares with nobody`() throws {
        let keeping = MachineKeeping(policy: .tenant, machinesPerSlot: 3)
        var pool = MachinePool(keeping, make: foundry.make)
        let tenants: [UInt32?] = [1000, 1001, nil, 1000, 1001, nil, 0, 1000, 0]
        let numbers = try tenants.map { try use(&pool, Self.kind(1), for: $0) }
        #expect(numbers == [0, 1, 2, 0, 1, 3, 4, 0, 4])
        keeping.settle()
        #expect(![2, 3].contains(where: foundry.lives))
    }

    @Test func `where all machines are shared, users are`() throws {
        var pool = MachinePool(MachineKeeping(), make: foundry.make)
        let tenants: [UInt32?] = [1000, 1001, nil]
        let numbers = try tenants.map { try use(&pool, Self.kind(1), for: $0) }
        #expect(numbers == [0, 0, 0])
    }

    @Test func `a fresh machine is used once, and the next one of its kind is made meanwhile`() throws {
        let keeping = MachineKeeping(policy: .fresh)
        var pool = MachinePool(keeping, make: foundry.make)
        var numbers: [Int?] = []
        for _ in 0..<10 {
            let machine = try pool.take(Self.kind(1), for: nil)
            numbers.append(foundry.number(of: machine))
            keeping.settle()
            #expect(foundry.living == 2, "the one that runs and the next one")
            pool.putBack(consume machine)
        }
        #expect(Set(numbers).count == 10)
        #expect(foundry.count == 11, "none but the first was made while a job waited for it")
        pool.close()
        keeping.settle()
        #expect(foundry.living == 0)
    }

    @Test func `a fresh machine that was made for another kind goes unused`() throws {
        let keeping = MachineKeeping(policy: .fresh)
        var pool = MachinePool(keeping, make: foundry.make)
        for size: UInt64 in [1, 2, 1, 2] {
            let machine = try pool.take(Self.kind(size), for: nil)
            #expect(machine.kind == Self.kind(size))
            pool.putBack(consume machine)
            keeping.settle()
            #expect(foundry.living == 1)
        }
        #expect(foundry.count == 8)
        pool.close()
        keeping.settle()
        #expect(foundry.living == 0)
    }

    @Test func `a job does not wait for a fresh machine that is still being made`() throws {
        let keeping = MachineKeeping(policy: .fresh)
        var pool = MachinePool(keeping, make: foundry.make)
        keeping.nursery.suspend()
        let numbers = [try use(&pool, Self.kind(1)), try use(&pool, Self.kind(1)), try use(&pool, Self.kind(2))]
        keeping.undertaker.wait()
        #expect(numbers == [0, 1, 2])
        pool.close()
        keeping.nursery.resume()
        keeping.settle()
        #expect(foundry.count == 3, "what was ordered last is not wanted any more")
        #expect(foundry.living == 0)
    }

    @Test(arguments: MachinePolicy.allCases)
    func `nothing is left behind a pool`(policy: MachinePolicy) throws {
        let keeping = MachineKeeping(policy: policy)
        var pool = MachinePool(keeping, make: foundry.make)
        for size: UInt64 in [1, 2, 3, 2, 2] { _ = try use(&pool, Self.kind(size), for: 1000) }
        pool.close()
        keeping.settle()
        #expect(foundry.living == 0)
    }

    @Test func `a slot without jobs keeps the machine of its last one`() throws {
        let keeping = MachineKeeping()
        var pool = MachinePool(keeping, make: foundry.make)
        for size: UInt64 in [1, 2, 3, 1] { _ = try use(&pool, Self.kind(size)) }
        pool.shrink(to: 1)
        keeping.settle()
        #expect([0, 1, 2].map(foundry.lives) == [true, false, false])
    }

    @Test func `a machine that cannot be made gets what the others hold`() throws {
        let keeping = MachineKeeping()
        var pool = MachinePool(keeping, make: foundry.make)
        for size: UInt64 in [1, 2] { _ = try use(&pool, Self.kind(size)) }
        foundry.fail(1)
        let number = try use(&pool, Self.kind(3))
        #expect(number == 2)
        #expect(foundry.living == 1)
        foundry.fail(2)
        var failure: KVMError?
        do throws(KVMError) { _ = try pool.take(Self.kind(4), for: nil) } catch { failure = error }
        #expect(failure == MachineFoundry.failure)
        let after = try use(&pool, Self.kind(4))
        #expect(after == 3)
    }
}

@Suite("Machines that are to go", .enabled(if: Hardware.isThere, "no usable /dev/kvm"))
struct UndertakerTests {
    private let foundry: MachineFoundry
    private let queue = DispatchQueue(label: "test.undertaker")

    init() throws { foundry = try MachineFoundry() }

    @Test func `so many wait to be destroyed, and whoever brings one more does it`() throws {
        let undertaker = Undertaker(queue: queue)
        queue.suspend()
        for _ in 0..<Undertaker.machineLimit { undertaker.take(try foundry.make(MachineKind(memoryBytes: 4096))) }
        #expect(foundry.living == Undertaker.machineLimit)
        for _ in 0..<3 { undertaker.take(try foundry.make(MachineKind(memoryBytes: 4096))) }
        #expect(foundry.living == Undertaker.machineLimit)
        queue.resume()
        undertaker.wait()
        #expect(foundry.living == 0)
    }

    @Test func `so much memory waits to be destroyed`() throws {
        let undertaker = Undertaker(queue: queue)
        queue.suspend()
        for _ in 0..<2 { undertaker.take(try foundry.make(MachineKind(memoryBytes: Undertaker.memoryLimit / 2))) }
        #expect(foundry.living == 2)
        undertaker.take(try foundry.make(MachineKind(memoryBytes: 4096)))
        #expect(foundry.living == 2)
        queue.resume()
        undertaker.wait()
        #expect(foundry.living == 0)
        queue.suspend()
        undertaker.take(try foundry.make(MachineKind(memoryBytes: Undertaker.memoryLimit)))
        #expect(foundry.living == 1, "what is gone does not count")
        queue.resume()
        undertaker.wait()
    }
}
