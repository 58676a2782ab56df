// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors
#include <systemd/sd-daemon.h>
#include <systemd/sd-journal.h>
