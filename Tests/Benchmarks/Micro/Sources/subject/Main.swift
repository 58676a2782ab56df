// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

import Glibc
import Subjects

/// `subject` lists the subjects; `subject NAME COUNT` does one of them so often and nothing else.
@main
enum Main {
    static func main() {
        let arguments = CommandLine.arguments.dropFirst()
        guard let name = arguments.first else {
            for subject in Subject.all { print(subject.name) }
            return
        }
        guard arguments.count == 2, let subject = Subject.all.first(where: { $0.name == name }),
            let count = arguments.last.flatMap(Int.init), count > 0
        else {
            print("usage: subject [NAME COUNT], with a name that subject lists")
            exit(64)
        }
        subject.run(count)
    }
}
