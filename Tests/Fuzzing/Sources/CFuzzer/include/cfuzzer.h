// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

#pragma once

// libFuzzer's loop: calls the function with one input after the other, for as long as the arguments say.
int LLVMFuzzerRunDriver(int *_Nonnull count, char *_Nonnull *_Nonnull *_Nonnull arguments,
                        int (*_Nonnull body)(const unsigned char *_Nullable bytes, unsigned long length));
