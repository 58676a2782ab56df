// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Foundation
import JobModel
import Testing

@testable import kvmjob

@Suite struct PostMortemJSONTests {
    private func parse(_ result: JobResult, dumps: [MemoryDump]? = nil) throws -> [String: Any] {
        var report = JobReport(image: "a", name: "a", end: .ended(result))
        report.dumps = dumps
        let json = JSONReport(report: report, stepBudget: nil, listsPortWrites: false)
        return try #require(try JSONSerialization.jsonObject(with: Data(json.value.bytes)) as? [String: Any])
    }

    @Test func `every key is there, and null where nothing is known`() throws {
        let json = try parse(JobResult(outcome: .halted))
        let found = try #require(json["post_mortem"] as? [String: Any])
        #expect(Set(found.keys) == ["cause", "code", "stack", "last_exits", "fpu"])
        #expect(["cause", "code", "stack", "fpu"].allSatisfy { found[$0] is NSNull })
        #expect((found["last_exits"] as? [Any])?.isEmpty == true && json["dumps"] is NSNull)
    }

    @Test func `all of a post-mortem is told`() throws {
        var result = realModeResult(.tripleFault, rip: 0xFFF1, csBase: 0xF0000)
        result.postMortem.cause = Fault(vector: 13, errorCode: 8, address: nil, rip: 0xFFF1)
        result.postMortem.code = MemoryWindow(address: 0xFFFF0, bytes: [0x90, 0xEB, 0xFE])
        result.postMortem.stack = MemoryWindow(address: 0x7000, bytes: [1, 2])
        result.postMortem.exits = [ExitRecord(kind: .portOut, size: 1, count: 1, address: 0xE9, value: 0x41, rip: 2)]
        var fpu = [UInt8](repeating: 0, count: 512)
        (fpu[0], fpu[41], fpu[160]) = (0x7F, 0x40, 0x11)
        result.postMortem.fpu = fpu
        let found = try #require(try parse(result)["post_mortem"] as? [String: Any])

        let cause = found["cause"] as? [String: Any]
        #expect(cause?["name"] as? String == "#GP general protection fault" && cause?["error_code"] as? String == "0x8")
        let code = try #require(found["code"] as? [String: Any])
        #expect(code["address"] as? String == "0xffff0" && code["bytes"] as? String == "90 eb fe")
        #expect(code["bits"] as? Int == 16 && code["current"] as? Int == 1)
        let instructions = code["instructions"] as? [[String: String]]
        #expect(
            instructions == [
                ["address": "0xffff0", "bytes": "90", "text": "nop"],
                ["address": "0xffff1", "bytes": "eb fe", "text": "jmp 0xfff1"],
            ])
        #expect(found["stack"] as? [String: String] == ["address": "0x7000", "bytes": "01 02"])
        let exit = (found["last_exits"] as? [[String: Any]])?.first
        #expect(
            exit?["kind"] as? String == "port-out" && exit?["address"] as? String == "0xe9"
                && exit?["count"] as? Int == 1)
        let floats = try #require(found["fpu"] as? [String: Any])
        #expect(floats["fcw"] as? String == "0x7f" && (floats["st"] as? [String])?.count == 8)
        #expect((floats["st"] as? [String])?[0] == "0x40000000000000000000")
        #expect((floats["xmm"] as? [String])?[0] == "0x00000000000000000000000000000011")
        #expect(floats["fxsave_base64"] as? String == Data(fpu).base64EncodedString())
    }

    @Test func `windows of memory are told with their bytes`() throws {
        let dumps = try parse(JobResult(outcome: .halted), dumps: [MemoryDump(address: 0x7C00, bytes: [1, 2])])["dumps"]
        let dump = (dumps as? [[String: Any]])?.first
        #expect(dump?["address"] as? String == "0x7c00" && dump?["length"] as? Int == 2)
        #expect(dump?["complete"] as? Bool == true && dump?["base64"] as? String == "AQI=")
    }
}
