// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

internal import JobModel

/// The fields of a RESULT that have an entry for each vCPU.
extension ResultReport {
    /// The report in a frame for a receiver who takes payloads of so many bytes. That of several vCPUs leaves out what does not fit:
    /// their registers, and then the last exits.
    func frame(job: UInt32, limit: UInt32) -> Frame {
        let frame = frame(job: job)
        guard frame.header.length > limit, processors != nil else { return frame }
        var shorter = self
        if processorRegisters != nil {
            shorter.processorRegisters = nil
            return shorter.frame(job: job, limit: limit)
        }
        shorter.exitLog = nil
        return shorter.frame(job: job)
    }

    /// What both fields say together. A vCPU's steps are known where the job's are.
    var processorReports: [ProcessorReport] {
        guard let processors else { return [] }
        return processors.enumerated().map { index, processor in
            var report = processor
            report.steps = steps == nil ? nil : processor.steps
            if let processorRegisters, index < processorRegisters.count { report.registers = processorRegisters[index] }
            return report
        }
    }
}

extension ProcessorReport {
    /// A state, steps and nanoseconds.
    static let wireSize = 17
    /// Whether they are known, and the registers.
    static let registersWireSize = 1 + Registers.wireSize
}

extension [ProcessorReport] {
    var wire: [UInt8] {
        prefix(JobSpec.maximumVCPUs).reduce(into: []) { bytes, report in
            bytes.append(report.state.rawValue)
            bytes.append(bigEndian: report.steps ?? 0)
            bytes.append(bigEndian: report.cpuNanoseconds)
        }
    }
}

extension [Registers?] {
    var wire: [UInt8] {
        prefix(JobSpec.maximumVCPUs).reduce(into: []) { bytes, registers in
            bytes.append(registers == nil ? 0 : 1)
            for name in RegisterName.allCases { bytes.append(bigEndian: registers?[name] ?? 0) }
        }
    }
}

extension Field {
    func processors() throws(WireError) -> [ProcessorReport] {
        let size = ProcessorReport.wireSize
        var block = BlockReader(rest: try bytes(atMost: JobSpec.maximumVCPUs * size, multipleOf: size))
        var reports: [ProcessorReport] = []
        while !block.rest.isEmpty {
            let number: UInt8 = block.next()
            guard let state = ProcessorReport.State(rawValue: number) else { throw badValue(number) }
            reports.append(ProcessorReport(state: state, steps: block.next(), cpuNanoseconds: block.next()))
        }
        return reports
    }

    func processorRegisters() throws(WireError) -> [Registers?] {
        let size = ProcessorReport.registersWireSize
        var rest = try bytes(atMost: JobSpec.maximumVCPUs * size, multipleOf: size)
        var all: [Registers?] = []
        while let known = rest.first {
            guard known < 2 else { throw badValue(known) }
            let registers = Registers(wire: rest.dropFirst().prefix(Registers.wireSize))
            all.append(known == 1 ? registers : nil)
            rest = rest.dropFirst(size)
        }
        return all
    }
}
