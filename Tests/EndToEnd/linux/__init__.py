# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The kvmjob authors
"""The Linux programs that ../linux.py runs, those that attack, and what runs them."""
