-- SPDX-License-Identifier: Apache-2.0
-- SPDX-FileCopyrightText: The kvmjob authors
-- Lua's own: sorting, patterns, closures, coroutines, its garbage collector, files and errors.

local state = 42
local function chance() state = (state * 1103515245 + 12345) % 2147483648; return state end

local numbers = {}
for i = 1, 20000 do numbers[i] = chance() end
table.sort(numbers)
print(numbers[1], numbers[#numbers], #numbers)
table.sort(numbers, function(a, b) return a > b end)
print(numbers[1])

local function fib(n) if n < 2 then return n end return fib(n - 1) + fib(n - 2) end
print("fib", fib(20))

local words = {}
for word, rest in ("the quick brown fox jumps"):gmatch("(%a)(%a*)") do words[#words + 1] = rest .. word end
print(table.concat(words, " "), ("%5.2f|%-5s|%q"):format(math.pi, "x", "a\nb"))
print(("key = value"):match("^(%w+)%s*=%s*(%w+)$"), ("abc"):rep(3, "-"), ("hello"):byte(1, -1))
print(("x"):pack(1) and string.pack("<i4z", 7, "zero"):len(), utf8.len("añb"), 7 // 2, 7 % -3, 2^53, 1 << 40)

local producer = coroutine.wrap(function() for i = 1, 5 do coroutine.yield(i * i) end end)
for square in producer do io.write(square, " ") end
print()
local broken = coroutine.create(function() error({ code = 7 }) end)
local fine, problem = coroutine.resume(broken)
print(fine, problem.code, coroutine.status(broken))

local finalized = 0
for _ = 1, 2000 do setmetatable({ ("x"):rep(500) }, { __gc = function() finalized = finalized + 1 end }) end
collectgarbage()
print("collected", finalized == 2000)
local weak = setmetatable({}, { __mode = "k" })
weak[{}] = 1
collectgarbage()
print(next(weak))

local total = 0
for line in io.lines() do total = total + tonumber(line) end
print("input", total)
local file = assert(io.open("made.txt", "w"))
file:write("line 1\n", 2, "\n")
file:close()
for line in io.lines("made.txt") do print("file", line) end
print(os.remove("made.txt"), select(2, io.open("none")))
print(pcall(error, "an error", 0), os.getenv("HOME"), os.time({ year = 2001, month = 9, day = 9, hour = 12 }) > 0)
print(os.date("!%F %T", 1e9))
local name = os.tmpname()
print(#name, os.remove(name))
io.stderr:write("to standard error\n")
error("nobody catches this")
