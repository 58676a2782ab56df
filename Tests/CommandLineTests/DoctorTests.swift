// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import JobModel
import JobProtocol
import Testing
import VMRuntime

@testable import kvmjob

@Suite struct DoctorTests {
    private static let usable = KVMFinding.usable(
        KVMFindings(
            version: 12,
            capabilities: [("KVM_CAP_USER_MEMORY", "guest memory", 1), ("KVM_CAP_SYNC_REGS", "registers", 0)],
            modes: [
                ModeFinding(
                    mode: .real16, runs: true, counting: .bounded, inexactness: "handlers are skipped",
                    meter: "stepping",
                    determinism: ModeDeterminism(unfixedLeaves: [1, 13], readsClock: true, readsRandom: false)),
                ModeFinding(mode: .user64, runs: false, counting: .none),
            ], isSoftware: true,
            abilities: [.init(key: "sse_at_ring_0", name: "SSE at ring 0", isThere: false)]))
    private static let unusable = KVMFinding.unusable("there is no /dev/kvm: load the module")
    private static let reachable = WorkerFinding.reachable(
        path: "/s", terms: WorkerTerms(slots: 2, modes: [(.real16, .exact)], software: "kvmjobd 1"))
    private static let unreachable = WorkerFinding.unreachable(path: "/s", reason: "nobody listens on /s")

    private func parse(_ report: DoctorReport) throws -> [String: Any] {
        let bytes = DoctorJSON(report: report).value.bytes
        return try #require(try JSONSerialization.jsonObject(with: Data(bytes)) as? [String: Any])
    }

    @Test func `jobs can run where submit would run them`() {
        #expect(DoctorReport(kvm: Self.usable, worker: .embedded).canRunJobs)
        #expect(!DoctorReport(kvm: Self.unusable, worker: .embedded).canRunJobs)
        #expect(DoctorReport(kvm: Self.unusable, worker: Self.reachable).canRunJobs)
        #expect(!DoctorReport(kvm: Self.usable, worker: Self.unreachable).canRunJobs)
        let idle = WorkerFinding.reachable(path: "/s", terms: WorkerTerms(slots: 2, modes: [], software: ""))
        #expect(!DoctorReport(kvm: Self.usable, worker: idle).canRunJobs)
    }

    @Test func `a usable KVM is told with its modes and capabilities`() {
        let text = DoctorText(report: DoctorReport(kvm: Self.usable, worker: .embedded)).text
        #expect(text.contains("API version 12") && text.contains("software backend"))
        #expect(text.contains("  SSE at ring 0                     no"))
        #expect(
            text.contains(
                "  real16        runs; steps counted, at times with a known error, by stepping: handlers are skipped"))
        #expect(text.contains("  user64        does not run"))
        #expect(text.contains("KVM_CAP_USER_MEMORY         yes     guest memory"))
        #expect(text.contains("KVM_CAP_SYNC_REGS           missing registers"))
        #expect(text.contains("no service at /run/kvmjob/kvmjobd.sock") && text.hasSuffix("Jobs can run here."))
    }

    @Test func `what a deterministic guest can see all the same is told for each mode`() throws {
        let report = DoctorReport(kvm: Self.usable, worker: .embedded)
        let text = DoctorText(report: report).text
        let line = "  real16        CPUID fixed but for leaf 0x1, 0xd; RDTSC readable; RDRAND does not run"
        #expect(text.contains("Deterministic jobs\n\(line)\n\nCapabilities"))
        let modes = try parse(report)["modes"] as? [[String: Any]]
        let first = modes?.first?["determinism"] as? [String: Any]
        #expect(first?["cpuid_fixed"] as? Bool == false && first?["rdtsc_readable"] as? Bool == true)
        #expect(first?["cpuid_unfixed_leaves"] as? [String] == ["0x1", "0xd"])
        #expect(first?["rdrand_readable"] as? Bool == false && modes?.last?["determinism"] is NSNull)
    }

    @Test func `why no job can be deterministic is told`() {
        guard case .usable(var findings) = Self.usable else { return }
        findings.determinismObstacle = "it lacks SSE2"
        let text = DoctorText(report: DoctorReport(kvm: .usable(findings), worker: .embedded)).text
        #expect(text.contains("Deterministic jobs\n  cannot run here: it lacks SSE2"))
    }

    @Test func `an unusable KVM and a silent worker say what to do`() {
        let text = DoctorText(report: DoctorReport(kvm: Self.unusable, worker: Self.unreachable)).text
        #expect(text.contains("not usable: there is no /dev/kvm: load the module"))
        #expect(text.contains("Worker at /s\n  nobody listens on /s") && text.hasSuffix("Jobs cannot run here."))
    }

    @Test func `a worker is told with its terms`() {
        let text = DoctorText(report: DoctorReport(kvm: Self.unusable, worker: Self.reachable)).text
        #expect(text.contains("kvmjobd 1") && text.contains("real16 (exact)") && text.contains("1 MiB to 1 GiB"))
        #expect(text.contains("at most 64 MiB") && text.contains("at most 3600 s"))
    }

    @Test func `as JSON every key is there`() throws {
        for kvm in [Self.usable, Self.unusable] {
            for worker in [Self.reachable, Self.unreachable, .embedded] {
                let json = try parse(DoctorReport(kvm: kvm, worker: worker))
                #expect(Set(json.keys) == ["can_run_jobs", "kvm", "modes", "capabilities", "worker"])
                let kvm = try #require(json["kvm"] as? [String: Any])
                #expect(
                    Set(kvm.keys)
                        == ["usable", "error", "api_version", "backend", "abilities"])
                let worker = try #require(json["worker"] as? [String: Any])
                #expect(Set(worker.keys) == ["kind", "path", "reachable", "error", "terms"])
            }
        }
    }

    @Test func `JSON tells what the text tells`() throws {
        let json = try parse(DoctorReport(kvm: Self.usable, worker: Self.reachable))
        let kvm = json["kvm"] as? [String: Any]
        #expect(kvm?["backend"] as? String == "software" && kvm?["api_version"] as? Int == 12)
        #expect((json["modes"] as? [[String: Any]])?.first?["steps"] as? String == "bounded")
        #expect((kvm?["abilities"] as? [String: Bool]) == ["sse_at_ring_0": false])
        #expect((json["capabilities"] as? [[String: Any]])?.last?["value"] as? Int == 0)
        let worker = json["worker"] as? [String: Any]
        #expect(worker?["reachable"] as? Bool == true && worker?["kind"] as? String == "socket")
        let terms = worker?["terms"] as? [String: Any]
        #expect(terms?["slots"] as? Int == 2 && terms?["wall_maximum_ns"] as? Int == 3_600_000_000_000)
    }
}
