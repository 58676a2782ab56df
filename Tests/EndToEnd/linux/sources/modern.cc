// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The kvmjob authors

// C++ as it is used: exceptions through frames, streams, containers, threads and futures.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <future>
#include <iomanip>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <regex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

struct Guard {
    std::string name;
    ~Guard() { std::cout << "leaves " << name << '\n'; }
};

static int depth(int n) {
    Guard guard{"frame " + std::to_string(n)};
    if (n == 0) throw std::out_of_range("deep enough");
    return depth(n - 1) + 1;
}

int main() {
    try {
        depth(3);
    } catch (const std::exception &error) {
        std::cout << "caught " << error.what() << '\n';
    }
    try {
        (void)std::vector<int>(3).at(5);
    } catch (const std::out_of_range &) {
        std::cout << "out of range\n";
    }
    std::map<std::string, int> words;
    for (std::string word; std::cin >> word;) words[word]++;
    for (const auto &[word, count] : words) std::cout << std::setw(8) << word << ' ' << count << '\n';

    std::mutex mutex;
    std::condition_variable ready;
    std::atomic<long> sum{0};
    int finished = 0;
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; t++)
        threads.emplace_back([&, t] {
            for (int i = 0; i < 10000; i++) sum += t;
            std::lock_guard lock(mutex);
            finished++;
            ready.notify_one();
        });
    {
        std::unique_lock lock(mutex);
        ready.wait(lock, [&] { return finished == 8; });
    }
    for (auto &thread : threads) thread.join();
    std::cout << "sum " << sum << ", finished " << finished << '\n';
    auto broken = std::async(std::launch::async, []() -> int { throw std::runtime_error("in another thread"); });
    try {
        broken.get();
    } catch (const std::runtime_error &error) {
        std::cout << "brought over: " << error.what() << '\n';
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));

    std::mt19937_64 chance(7);
    std::vector<unsigned long> numbers(50000);
    std::generate(numbers.begin(), numbers.end(), chance);
    std::sort(numbers.begin(), numbers.end());
    std::cout << std::hex << numbers.front() << ' ' << numbers.back() << std::dec << '\n';
    std::smatch found;
    std::string text = "2026-11-23";
    if (std::regex_match(text, found, std::regex(R"((\d+)-(\d+)-(\d+))"))) std::cout << found[2] << '\n';

    std::filesystem::create_directories("made/by/cpp");
    std::ofstream("made/by/cpp/file") << "a line\nanother\n";
    std::ifstream file("made/by/cpp/file");
    std::string line;
    while (std::getline(file, line)) std::cout << "read " << line << '\n';
    std::cout << std::filesystem::file_size("made/by/cpp/file") << " bytes, "
              << std::filesystem::remove_all("made") << " removed\n";
    std::cerr << std::fixed << std::setprecision(12) << std::sqrt(2.0L) << std::endl;
    throw std::logic_error("nobody catches this");
}
