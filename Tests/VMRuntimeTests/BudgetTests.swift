// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import JobModel
import KVM
import Testing

@testable import VMRuntime

/// How a guest is run: as fast as it goes, its steps counted as fast as they can be, or stopped after each instruction.
enum Pace: Sendable, CaseIterable {
    case free
    case counted
    case stepped

    /// A step budget that nothing here reaches.
    var steps: UInt64? { self == .free ? nil : 1 << 40 }
}

extension JobSpec {
    /// The same job at a pace.
    fileprivate func at(_ pace: Pace) -> JobSpec {
        var spec = self
        spec.budget.steps = budget.steps ?? pace.steps
        spec.meter = pace == .stepped ? .stepped : nil
        return spec
    }
}

extension JobResult {
    /// What the guest brought about, which must not depend on how it is counted.
    fileprivate var guestExits: [UInt64] { [exits.io, exits.mmio, exits.other] }

    /// Fails unless this budget ended the job, and returns what was used of it.
    fileprivate func used(_ kind: BudgetKind, limit: UInt64) throws -> UInt64 {
        guard case .exhausted(kind, limit, let used) = outcome else { throw WrongEnd(outcome: outcome) }
        return used
    }

    fileprivate struct WrongEnd: Error { let outcome: Outcome }
}

@Suite(.enabled(if: Hardware.isThere, "no usable /dev/kvm"), .serialized)
struct BudgetTests {
    /// Guests that end in a way of their own on one backend or another; here on some of them.
    private static let mayEnd: Set<String> = [
        "user64-int80", "real16-int80", "long64-vmcall", "long64-cmpxchg16b", "long64-scribble",
    ]
    private static let endless = GuestProgram.all.filter { $0.end == .open && !mayEnd.contains($0.name) }
    private static let hanging = GuestProgram.all.filter { ["real16-int80", "long64-vmcall"].contains($0.name) }

    // MARK: Every guest

    @Test(arguments: endless, Pace.allCases)
    func `CPU time ends every guest that never ends`(_ guest: GuestProgram, pace: Pace) async throws {
        // At full speed this one may come to the end of memory before.
        if guest.name == "user64-rep-gigabyte", pace == .free { return }
        let budget = Budget(cpuTime: .milliseconds(4))
        let result = try await Run.of(guest.image, guest.spec(budget).at(pace)).result
        let used = try result.used(.cpuTime, limit: 4_000_000)
        #expect(used >= 4_000_000 && used < 1_000_000_000)
        #expect(result.cpuNanoseconds >= used && result.cpuNanoseconds <= result.wallNanoseconds + 100_000)
        #expect(result.registers != nil)
    }

    @Test(arguments: hanging, [Budget(cpuTime: .milliseconds(4)), Budget(wallTime: .milliseconds(4))])
    func `time ends a guest that hangs inside one instruction`(_ guest: GuestProgram, budget: Budget) async throws {
        for pace in Pace.allCases {
            let result = try await Run.of(guest.image, guest.spec(budget).at(pace)).result
            // Hardware runs both of them to an end.
            if case .exhausted(let kind, 4_000_000, _) = result.outcome {
                #expect(kind == (budget.cpuTime == nil ? .wallTime : .cpuTime))
            } else {
                #expect([.open, .halted, .tripleFault].contains(result.outcome.end), "ended as \(result.outcome)")
            }
        }
    }

    @Test(
        arguments: [
            "real16-port-flood", "user64-port-flood", "protected32-mmio-flood", "user64-mmio-flood",
            "real16-output-flood", "user64-output-flood", "real16-input-wait", "protected32-rep-outs-gigabyte",
            "user64-rep-outs-gigabyte",
        ], Pace.allCases)
    func `an exit budget ends a flood of exits exactly`(name: String, pace: Pace) async throws {
        let guest = try GuestProgram.named(name)
        // Enough for the guest to run in slices where it is counted so.
        let limit: UInt64 = pace == .stepped ? 150 : 2000
        let result = try await Run.of(guest.image, guest.spec(Budget(exits: limit)).at(pace)).result
        #expect(try result.used(.exits, limit: limit) == limit)
        #expect(result.guestExits.reduce(0, +) == limit)
    }

    @Test(arguments: ["real16-output-flood", "user64-output-flood"], Pace.allCases)
    func `an output budget ends a flood of output exactly`(name: String, pace: Pace) async throws {
        let guest = try GuestProgram.named(name)
        // More than waits in the worker at once where that is quick.
        let limit: UInt64 = pace != .stepped ? 20_001 : 301
        let budget = Budget(outputBytes: limit)
        let run = try await Run.of(guest.image, guest.spec(budget).at(pace))
        #expect(try run.result.used(.output, limit: limit) == limit)
        #expect(run.console == [UInt8](repeating: UInt8(ascii: "y"), count: Int(limit)))
        #expect(try run.result.outputBytes == limit)
    }

    @Test(arguments: ["real16-touch", "protected32-touch", "long64-touch", "user64-touch"], Pace.allCases)
    func `a memory budget ends a guest that touches ever more`(name: String, pace: Pace) async throws {
        let guest = try GuestProgram.named(name)
        // Beyond what is loaded, and a part of what the guest would touch; stepped guests take a millisecond for 20 pages.
        let limit: UInt64 = pace == .free ? 640 << 10 : 192 << 10
        let result = try await Run.of(guest.image, guest.spec(Budget(touchedBytes: limit)).at(pace)).result
        let used = try result.used(.memory, limit: limit)
        #expect(used > limit)
        #expect(result.touchedBytes == used)
    }

    @Test
    func `a gigabyte of memory is counted, and what is never touched costs nothing`() async throws {
        // mov edi, 0x200000; again: inc byte [rdi]; add edi, 4096; cmp edi, 0x40000000; jb again; mov al, 0; out 0xf4, al
        let image = hex("bf00002000 fe07 81c700100000 81ff00000040 72f0 b000 e6f4")
        let pages = ((1 << 30) - (2 << 20)) / GuestMemory.pageBytes
        let spec = JobSpec(
            mode: .user64, memoryBytes: 1 << 30, budget: Budget(wallTime: .seconds(60), touchedBytes: 96 << 20))
        let result = try await Run.of(image, spec).result
        #expect(try result.used(.memory, limit: 96 << 20) < pages * GuestMemory.pageBytes)
        let idle = JobSpec(mode: .user64, memoryBytes: 1 << 30, budget: Budget(touchedBytes: 1 << 30))
        let touched = try #require(try await Run.of(hex("b000 e6f4"), idle).result.touchedBytes)
        #expect(touched >= GuestMemory.pageBytes && touched <= 256 << 10)
    }

    @Test(arguments: Pace.allCases)
    func `HLT with interrupts off is the guest's own end, whatever it may use`(pace: Pace) async throws {
        let plenty = Budget(
            cpuTime: .seconds(5), exits: 1, outputBytes: 1, touchedBytes: 1 << 20)
        let result = try await Run.of(hex("fa f4"), JobSpec(budget: plenty).at(pace)).result
        #expect(result.outcome == .halted)
        #expect(result.guestExits == [0, 0, 1])
    }

    // MARK: Exactness

    /// A program with a known number of exits, of every kind that its mode has, in its own words.
    private static func exits(_ mode: GuestMode) -> (image: [UInt8], count: UInt64) {
        switch mode {
        // out 0x80, al; in al, 0x80; mov dx, 0x80; mov cx, 3; rep outsb; mov al, 0x80; out 0x80, ax; hlt
        case .real16: (hex("e680 e480 ba8000 b90300 f36e e780 f4"), 7)
        // out 0x80, al; in al, 0x80; mov ebx, 0xd0000000; mov [ebx], eax; mov eax, [ebx]; inc dword [ebx];
        // mov edx, 0x80; mov ecx, 3; mov esi, 0x100000; rep outsb; mov eax, [0xd0000ffe]; hlt
        case .protected32:
            (hex("e680 e480 bb000000d0 8903 8b03 ff03 ba80000000 b903000000 be00001000 f36e a1fe0f00d0 f4"), 12)
        case .long64, .user64, .linux:
            (
                hex("e680 e480 bb000000d0 8903 8b03 ff03 ba80000000 b903000000 be00001000 f36e 8b83fe0f0000")
                    + hex(mode == .user64 ? "e6f4" : "f4"), 12
            )
        }
    }

    @Test(arguments: GuestMode.imageModes)
    func `each number of exits ends a guest there, stepped as free`(mode: GuestMode) async throws {
        let (image, known) = Self.exits(mode)
        let whole = try await Run.of(image, JobSpec(mode: mode)).result
        let total = whole.exits.broughtAbout
        #expect(total == known)
        for limit in 1...total + 1 {
            var ends: [JobResult] = []
            for pace in Pace.allCases {
                let spec = JobSpec(mode: mode, budget: Budget(exits: limit)).at(pace)
                ends.append(try await Run.of(image, spec).result)
            }
            for end in ends {
                #expect(end.outcome == (limit < total ? .exhausted(.exits, limit: limit, used: limit) : whole.outcome))
                #expect(end.exits.broughtAbout == min(limit, total))
                #expect(end.guestExits == ends[0].guestExits)
                #expect(end.registers == ends[0].registers, "after \(limit) exits")
            }
            #expect(ends[1].steps == ends[2].steps)
        }
    }

    /// mov al, 'a'; out 0xe9, al; out 0x80, al; mov ax, 'bc'; mov dx, 0x3f8; out dx, al; out 0xe9, ax; mov si, 0x101a;
    /// mov cx, 4; rep outsb; out 0x80, ax; hlt; "wxyz"
    private static let writer =
        hex("b061 e6e9 e680 b86263 baf803 ee e7e9 be1a10 b90400 f36e e780 f4") + Array("wxyz".utf8)
    /// What each of its writes puts out: the console's bytes, and 8 for each record.
    private static let writes = [1, 8, 1, 1, 1, 1, 1, 1, 8]

    @Test(arguments: 1...24 as ClosedRange<UInt64>, Pace.allCases)
    func `each number of output bytes arrives, and not one more`(limit: UInt64, pace: Pace) async throws {
        let (total, room) = (Self.writes.reduce(0, +), Int(limit))
        var fitting = 0
        for bytes in Self.writes {
            guard fitting + bytes <= room else { break }
            fitting += bytes
        }
        let spec = JobSpec(budget: Budget(outputBytes: limit), reportsPortWrites: true).at(pace)
        let run = try await Run.of(Self.writer, spec)
        let outputs = run.events.compactMap { event -> Int? in
            guard case .output(_, let bytes) = event else { return nil }
            return bytes.count
        }
        #expect(outputs.reduce(0, +) == fitting)
        let ends: Outcome = room < total ? .exhausted(.output, limit: limit, used: UInt64(fitting)) : .halted
        #expect(try run.result.outcome == ends)
        #expect("abbwxyz".hasPrefix(run.text))
    }

    @Test
    func `port writes that nobody asked to see are no output`() async throws {
        let run = try await Run.of(Self.writer, JobSpec(budget: Budget(outputBytes: 7)))
        #expect(try run.result.outcome == .halted)
        #expect(run.text == "abbwxyz")
    }

    @Test
    func `memory is counted to the page, and the last page is found at the end`() async throws {
        // mov edi, 0x200000; mov ecx, 20; again: inc byte [rdi]; add edi, 4096; dec ecx; jnz again; mov al, 0; out 0xf4, al
        let image = hex("bf00002000 b914000000 fe07 81c700100000 ffc9 75f4 b000 e6f4")
        let spec = { (limit: UInt64) in JobSpec(mode: .user64, budget: Budget(touchedBytes: limit)) }
        let touched = try #require(try await Run.of(image, spec(1 << 24)).result.touchedBytes)
        #expect(touched >= 20 * GuestMemory.pageBytes)
        #expect(try await Run.of(image, spec(touched)).result.outcome == .exited(code: 0))
        for less in [1, GuestMemory.pageBytes] {
            let limit = touched - less
            #expect(try await Run.of(image, spec(limit)).result.used(.memory, limit: limit) == touched)
        }
        #expect(try await Run.of(image, JobSpec(mode: .user64)).result.touchedBytes == nil)
    }

    // MARK: Ends

    /// Prints "abc" on the debug console in any mode: mov al, n; out 0xe9, al.
    private static let prints = hex("b061 e6e9 b062 e6e9 b063 e6e9")

    @Test(arguments: Pace.allCases, [0, 1 << 30])
    func `output from before the end arrives, whatever the end was`(pace: Pace, credit: Int) async throws {
        // jmp $; out 0x80, al for ever; out 0xe9, al for ever; mov eax, 0x10000, then inc byte [rax], add eax, 4096 for ever
        let (spin, ports, talk) = (hex("ebfe"), hex("e680 ebfc"), hex("e6e9 ebfc"))
        let touch = hex("b800000100 fe00 0500100000 ebf7")
        let cases: [(Budget, [UInt8], BudgetKind)] = [
            (Budget(wallTime: .milliseconds(3)), spin, .wallTime), (Budget(cpuTime: .milliseconds(3)), spin, .cpuTime),
            (Budget(exits: 10), ports, .exits), (Budget(outputBytes: 3), talk, .output),
            (Budget(touchedBytes: 128 << 10), touch, .memory), (Budget(steps: 40), spin, .steps),
        ]
        for (budget, rest, kind) in cases {
            var budget = budget
            // Without credit a guest that is late waits until its wall time is over.
            if credit == 0 { budget.wallTime = min(budget.wallTime, .milliseconds(500)) }
            let spec = JobSpec(mode: .protected32, budget: budget).at(pace)
            let run = try await Run.of(Self.prints + rest, spec, credit: credit)
            let name = try run.result.outcome.name
            #expect(name == "\(kind.name)-exhausted" || (credit == 0 && name == "wall-time-exhausted"))
            #expect(run.text == "abc")
        }
    }

    @Test
    func `a guest that waits for its reader takes no processor time`() async throws {
        let guest = try GuestProgram.named("user64-output-flood")
        let budget = Budget(wallTime: .milliseconds(300), cpuTime: .milliseconds(200))
        let result = try await Run.of(guest.image, guest.spec(budget), credit: 0).result
        #expect(result.outcome.name == "wall-time-exhausted")
        #expect(result.cpuNanoseconds > 0 && result.cpuNanoseconds < 200_000_000)
    }

    @Test
    func `a guest that ends by itself with more processor time than it may have is told of that`() async throws {
        let guest = try GuestProgram.named("hello")
        let result = try await Run.of(guest.image, guest.spec(Budget(cpuTime: .nanoseconds(20_000)))).result
        #expect(try result.used(.cpuTime, limit: 20_000) >= 20_000)
    }

    @Test(arguments: [
        // out 0xe9, al ×4; hlt
        (Budget(exits: 3, outputBytes: 2), "e6e9 e6e9 e6e9 e6e9 f4", Outcome.exhausted(.output, limit: 2, used: 2)),
        (Budget(steps: 3, outputBytes: 2), "e6e9 e6e9 e6e9 e6e9 f4", .exhausted(.output, limit: 2, used: 2)),
        (Budget(steps: 3, exits: 3), "e6e9 e6e9 e6e9 e6e9 f4", .exhausted(.exits, limit: 3, used: 3)),
        (Budget(steps: 3, exits: 4, outputBytes: 3), "e6e9 e6e9 e6e9 e6e9 f4", .exhausted(.steps, limit: 3, used: 3)),
        (Budget(steps: 5, exits: 5, outputBytes: 4), "e6e9 e6e9 e6e9 e6e9 f4", .halted),
    ])
    func `of budgets that are exhausted together, one is always the one`(
        budget: Budget, code: String, outcome: Outcome
    ) async throws {
        #expect(try await Run.of(hex(code), JobSpec(budget: budget)).result.outcome == outcome)
    }

    @Test(arguments: Pace.allCases)
    func `of budgets that are exhausted before the start, wall time goes before CPU time before memory`(
        pace: Pace
    ) async throws {
        var budget = Budget(
            wallTime: .nanoseconds(1), cpuTime: .nanoseconds(1), exits: 1, touchedBytes: 1)
        let run = { (budget: Budget) in try await Run.of(hex("e680 f4"), JobSpec(budget: budget).at(pace)).result }
        #expect(try await run(budget).outcome.name == "wall-time-exhausted")
        budget.wallTime = Budget.defaultWallTime
        #expect(try await run(budget).outcome.name == "cpu-time-exhausted")
        budget.cpuTime = nil
        let result = try await run(budget)
        #expect(result.outcome.name == "memory-exhausted")
        #expect(result.exits.total == 0)
        let control = JobControl(hasInput: false)
        control.cancel(.client)
        let cancelled = try await Run.of(hex("f4"), JobSpec(budget: budget).at(pace), control: control).result
        #expect(cancelled.outcome == .cancelled(by: .client))
    }

    @Test
    func `budgets without bound change nothing`() async throws {
        let all = Budget(
            wallTime: .nanoseconds(Int64.max), cpuTime: .nanoseconds(Int64.max), exits: .max, outputBytes: .max,
            touchedBytes: .max)
        let run = try await Run.of(
            hex("00d8 0430 baf803 ee b00a ee f4"), JobSpec(registers: [.rax: 2, .rbx: 2], budget: all))
        #expect(try run.result.outcome == .halted)
        #expect(run.text == "4\n")
    }
}
