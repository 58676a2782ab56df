// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import Disassembly
internal import Foundation
internal import JobModel
internal import LinuxPersonality

/// A job's report as JSON: one object on one line.
///
/// Every key is always there; what does not apply or is not known is null. Addresses, registers and attributes are strings
/// in hexadecimal (`"0x1f"`), counts and times are numbers. Keys may be added in later versions, never renamed.
///
/// | key | value |
/// |---|---|
/// | `image` | the image as it was named: a path, `-`, or the text behind `--hex` |
/// | `name` | the job's name, such as `boot.bin#3` |
/// | `id` | the worker's own number for the job, as in `kvmjob ps`; null if it was not accepted |
/// | `outcome` | an outcome's name, `refused`, or `lost` when the connection broke before the result |
/// | `error` | of `refused` and `lost`: `code`, `message`, `limit`, `value`, `retryable`, `limit_name` (the worker's setting), `retry_ns` (an estimate) |
/// | `code` | of `exited` |
/// | `fault` | of `faulted`: `vector`, `name`, `error_code`, `address`, `rip` |
/// | `unemulatable` | of `unemulatable`: `rip`, `bytes` (in hexadecimal, with spaces), `text` (the instruction, disassembled) |
/// | `exhausted` | of a budget outcome: `budget`, `limit`, `used`; of `wait-expired`: budget `wait`, `limit`, null |
/// | `cancelled` | of `cancelled`: `by`, which is `client`, `disconnect`, `drain`, `user` (by `kvmjob cancel`) or `operator` |
/// | `host_error` | of `host-error`: what happened; running the job again is safe |
/// | `snapshot` | of `snapshot-taken`: the snapshot's name |
/// | `steps` | `used` (null when not counted), `budget`, `meter` (`none`, `exact`, `bounded`), `reason` of `bounded` |
/// | `wall_ns`, `queue_ns` | nanoseconds that the guest ran, and that the job waited before |
/// | `cpu_ns` | nanoseconds of processor time that the guest took, the worker's service of its exits included |
/// | `touched_bytes` | with `--touched-memory`: bytes of guest memory, in whole pages, that were touched |
/// | `exits` | returns from KVM_RUN: `total`, `io`, `mmio`, `debug`, `interrupted`, `other` |
/// | `output_bytes` | bytes of console output |
/// | `output_base64` | the output, at most ``JobReport/outputLimit`` bytes of it; null where it went to a file |
/// | `output_truncated` | whether there was more |
/// | `unclaimed_port_writes` | writes to ports that no device claims |
/// | `port_writes` | with `--port-writes`: `port`, `size`, `value` of each, at most ``JobReport/portWriteLimit`` |
/// | `port_writes_truncated` | whether there were more |
/// | `dropped_memory_writes` | writes to physical addresses outside guest memory |
/// | `registers` | `rax` to `r15`, `rip`, `rflags` |
/// | `segments` | `cs` to `ldt`: `base`, `limit`, `selector`, `attributes` (bits as in the protocol's section 4) |
/// | `tables` | `gdt` and `idt`: `base`, `limit` |
/// | `control` | `cr0`, `cr2`, `cr3`, `cr4`, `cr8`, `efer`, `apic_base` |
/// | `vcpus` | of several: `state` (`halted`, `ended` for the one that ended the job, `stopped`), `steps`, `cpu_ns`, `registers` of each; `registers` above are those of the one that ended the job, or of the first |
/// | `digest` | SHA-256 in hexadecimal of what another run must bring forth again, where it was asked for |
/// | `job` | with `--deterministic`: all that `kvmjob replay` needs, see ``JobDescription`` |
/// | `post_mortem`, `dumps`, `screen` | see ``PostMortemJSON`` |
/// | `stderr_base64`, `stderr_truncated` | of a Linux program: what it wrote to its standard error, by the rules of `output_base64` |
/// | `program` | of a Linux program: `signal` (its number) and `place` (a symbol) of a fault, `system_calls` (a count), `unknown_calls` (names), `peak_bytes` |
struct JSONReport {
    let report: JobReport
    /// The job's step budget, nil where it ran unmetered.
    let stepBudget: UInt64?
    /// Whether port writes were asked for.
    let listsPortWrites: Bool

    var value: JSONValue { .object(members) }

    typealias Members = [(key: String, value: JSONValue)]

    /// The object's members in their order.
    var members: Members {
        [
            ("image", .string(report.image)), ("name", .string(report.name)), ("id", .count(report.id)),
            ("outcome", .string(report.end.name)),
        ]
            + ending + measures + output + Self.state(result?.registers, result?.system) + vcpus + repetition
            + PostMortemJSON(report: report).members + program
    }

    private var result: JobResult? {
        guard case .ended(let result) = report.end else { return nil }
        return result
    }

    private var ending: Members {
        var (code, fault, unemulatable) = (JSONValue.null, JSONValue.null, JSONValue.null)
        var (exhausted, cancelled, hostError) = (JSONValue.null, JSONValue.null, JSONValue.null)
        var snapshot = JSONValue.null
        switch result?.outcome {
        case .exited(let number): code = .count(number)
        case .faulted(let details): fault = Self.fault(details)
        case .unemulatable(let details):
            unemulatable = .object([
                ("rip", .hex(details.rip)), ("bytes", .string(HexText.describe(bytes: details.bytes))),
                ("text", .text(report.unemulatable?.text)),
            ])
        case .exhausted(let kind, let limit, let used): exhausted = Self.exhausted(kind.name, limit, used)
        case .waitExpired(let limit): exhausted = Self.exhausted("wait", limit, nil)
        case .cancelled(let canceller): cancelled = .object([("by", .string(canceller.name))])
        case .hostError(let text): hostError = .string(text)
        case .snapshotTaken(let name): snapshot = .string(HexText.describe(digest: name.bytes))
        case .halted, .tripleFault, nil: break
        }
        return [
            ("error", error), ("code", code), ("fault", fault), ("unemulatable", unemulatable),
            ("exhausted", exhausted), ("cancelled", cancelled), ("host_error", hostError),
            ("snapshot", snapshot),
        ]
    }

    private var error: JSONValue {
        let rejection: Rejection
        switch report.end {
        case .ended: return .null
        case .refused(let reason): rejection = reason
        case .lost(let message): rejection = Rejection(code: "connection-lost", message: message, isRetryable: true)
        }
        return .object([
            ("code", .string(rejection.code)), ("message", .string(rejection.message)),
            ("limit", .count(rejection.limit)), ("value", .count(rejection.value)),
            ("retryable", .bool(rejection.isRetryable)), ("limit_name", .text(rejection.limitName)),
            ("retry_ns", .count(rejection.retryNanoseconds)),
        ])
    }

    static func fault(_ fault: Fault) -> JSONValue {
        .object([
            ("vector", .count(fault.vector)), ("name", .string(fault.title)), ("error_code", .hex(fault.errorCode)),
            ("address", .hex(fault.address)), ("rip", .hex(fault.rip)),
        ])
    }

    private static func exhausted(_ budget: String, _ limit: UInt64, _ used: UInt64?) -> JSONValue {
        .object([("budget", .string(budget)), ("limit", .count(limit)), ("used", .count(used))])
    }

    private var measures: Members {
        var reason: String?
        if case .bounded(let why) = result?.meter { reason = why }
        let steps: JSONValue = .object([
            ("used", .count(result?.steps)), ("budget", .count(stepBudget)), ("meter", .text(result?.meter.name)),
            ("reason", .text(reason)),
        ])
        return [
            ("steps", steps), ("wall_ns", .count(result?.wallNanoseconds)),
            ("queue_ns", .count(result?.queueNanoseconds)), ("cpu_ns", .count(result?.cpuNanoseconds)),
            ("touched_bytes", .count(result?.touchedBytes)), ("exits", result.map { Self.exits($0.exits) } ?? .null),
        ]
    }

    private static func exits(_ exits: ExitCounts) -> JSONValue {
        .object([
            ("total", .count(exits.total)), ("io", .count(exits.io)), ("mmio", .count(exits.mmio)),
            ("debug", .count(exits.debug)), ("interrupted", .count(exits.interrupted)), ("other", .count(exits.other)),
        ])
    }

    private var output: Members {
        let writes: JSONValue = .array(
            report.portWrites.elements.map { write in
                .object([("port", .hex(write.port)), ("size", .count(write.size)), ("value", .hex(write.value))])
            })
        return [
            ("output_bytes", .count(result?.outputBytes)),
            ("output_base64", base64(report.output)),
            ("output_truncated", .bool(report.output.isTruncated)),
            ("unclaimed_port_writes", .count(result?.unclaimedPortWrites)),
            ("port_writes", listsPortWrites ? writes : .null),
            ("port_writes_truncated", .bool(report.portWrites.isTruncated)),
            ("dropped_memory_writes", .count(result?.droppedMemoryWrites)),
        ]
    }

    private func base64(_ output: BoundedList<UInt8>) -> JSONValue {
        report.isOutputElsewhere ? .null : .string(Data(output.elements).base64EncodedString())
    }

    private var program: Members {
        let isProgram = report.mode == .linux
        let facts = result?.program.map { program in
            JSONValue.object([
                ("signal", .count(program.signal)), ("place", .text(program.place)),
                ("system_calls", .count(program.systemCalls)),
                ("unknown_calls", .array(program.unknownCalls.map { .string(SystemCallName.describe($0)) })),
                ("peak_bytes", .count(program.peakBytes)),
            ])
        }
        return [
            ("stderr_base64", isProgram ? base64(report.errors) : .null),
            ("stderr_truncated", isProgram ? .bool(report.errors.isTruncated) : .null), ("program", facts ?? .null),
        ]
    }

    /// The members that tell a guest's registers.
    static func state(_ registers: Registers?, _ system: SystemRegisters?) -> Members {
        [
            ("registers", general(registers)), ("segments", system.map(segments) ?? .null),
            ("tables", system.map(tables) ?? .null), ("control", system.map(control) ?? .null),
        ]
    }

    private var vcpus: Members {
        guard let processors = result?.processors, !processors.isEmpty else { return [("vcpus", .null)] }
        return [
            (
                "vcpus",
                .array(
                    processors.map { processor in
                        .object([
                            ("state", .string(processor.state.name)), ("steps", .count(processor.steps)),
                            ("cpu_ns", .count(processor.cpuNanoseconds)),
                            ("registers", Self.general(processor.registers)),
                        ])
                    })
            )
        ]
    }

    private static func general(_ registers: Registers?) -> JSONValue {
        registers.map { registers in .object(RegisterName.allCases.map { ($0.name, .hex(registers[$0])) }) } ?? .null
    }

    private var repetition: Members {
        [
            ("digest", .text(result?.digest.map(HexText.describe(digest:)))),
            ("job", report.job.map(JSONValue.verbatim) ?? .null),
        ]
    }

    private static func segments(_ system: SystemRegisters) -> JSONValue {
        .object(system.namedSegments.map { ($0, $1.json) })
    }

    private static func tables(_ system: SystemRegisters) -> JSONValue {
        .object([("gdt", system.gdt.json), ("idt", system.idt.json)])
    }

    private static func control(_ system: SystemRegisters) -> JSONValue {
        .object(system.namedControlRegisters.map { ($0.name, .hex($0.value)) })
    }
}
