// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

/// What an interpreter does between its start and a script: it says that it is ready, is kept there, and finds the script at the
/// beginning of its input when it goes on.
///
/// What is in front of the input: the length of the rest, then how many arguments, variables and files there are and what they are:
/// numbers of four bytes, little-endian, and strings with such a length in front.
enum PythonBootstrap {
    /// What goes in front of the script's own input.
    ///
    /// - Parameters:
    ///   - arguments: `sys.argv`, the script's path first.
    ///   - environment: such as "NAME=VALUE".
    ///   - files: what is put into the guest's files, the script among them.
    static func header(
        arguments: [String], environment: [String], files: [(path: String, bytes: [UInt8])]
    ) -> [UInt8] {
        var body: [UInt8] = []
        for list in [arguments, environment] {
            body += number(list.count)
            for text in list { body += string(Array(text.utf8)) }
        }
        body += number(files.count)
        for file in files { body += string(Array(file.path.utf8)) + string(file.bytes) }
        return number(body.count) + body
    }

    private static func number(_ value: Int) -> [UInt8] {
        (0..<4).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) }
    }

    private static func string(_ bytes: [UInt8]) -> [UInt8] { number(bytes.count) + bytes }

    /// The interpreter's arguments.
    static let arguments = ["-c", program]

    /// Leaves nothing behind that a script could trip over: its names are a function's own, and it is in no traceback.
    private static let program = """
        def start():
            import os, sys
            def take(count):
                parts = []
                while count:
                    part = os.read(0, count)
                    if not part:
                        sys.exit("kvmjob: the script has not come whole")
                    parts.append(part)
                    count -= len(part)
                return b"".join(parts)
            os.close(os.open("/dev/kvmjob-ready", os.O_RDONLY))
            body = take(int.from_bytes(take(4), "little"))
            place = 0
            def number():
                nonlocal place
                place += 4
                return int.from_bytes(body[place - 4:place], "little")
            def string():
                nonlocal place
                count = number()
                place += count
                return body[place - count:place]
            arguments = [os.fsdecode(string()) for _ in range(number())]
            for _ in range(number()):
                name, _, value = string().partition(b"=")
                os.environb[name] = value
            for index in range(number()):
                path = string()
                os.makedirs(os.path.dirname(path) or b".", exist_ok=True)
                content = string()
                with open(path, "wb") as file:
                    file.write(content)
                if index == 0:
                    script = content
            sys.argv[:] = arguments
            if hasattr(sys, "orig_argv"):
                sys.orig_argv[:] = [sys.executable] + arguments
            sys.path[0] = os.path.dirname(os.path.abspath(arguments[0]))
            main = sys.modules["__main__"]
            del main.start
            main.__file__ = arguments[0]
            main.__cached__ = None
            main.__builtins__ = sys.modules["builtins"]
            try:
                exec(compile(script, arguments[0], "exec", dont_inherit=True), main.__dict__)
            except SystemExit:
                raise
            except BaseException as error:
                trace = error.__traceback__.tb_next
                # What compile() itself complains of has no frame of the script's.
                sys.excepthook(type(error), error.with_traceback(trace), trace)
                sys.exit(1)
        start()
        """
}
