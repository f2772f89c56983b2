#pragma once

#include <atomic>
#include <functional>
#include <thread>

namespace sluice::ops {

// SIGINT and SIGTERM as a call on an ordinary thread. Construct it before any other thread begins:
// threads started later inherit that the signals are blocked. SIGPIPE and SIGXFSZ are ignored from
// then on; SIGUSR1, SIGUSR2, SIGIO and those of timers and of programs' own do nothing.
class SignalWaiter {
 public:
  // What SIGHUP does, which a terminal sends when it goes, and some tools for "read your
  // configuration anew". Where the process was started with SIGHUP ignored (nohup) it stays so.
  enum class HangUp {
    kEnds,     // as SIGTERM
    kIgnored,  // says in the log that nothing is read anew
  };

  explicit SignalWaiter(HangUp hang_up = HangUp::kEnds);
  ~SignalWaiter();
  SignalWaiter(const SignalWaiter&) = delete;
  SignalWaiter& operator=(const SignalWaiter&) = delete;

  // Calls `callback` once at the first of the ending signals; a second one ends the process at
  // once, with that signal's exit status, whether the callback has returned or not.
  void OnSignal(std::function<void()> callback);
  // No callback is running or called any more when this returns. A signal that comes later waits
  // for the next OnSignal().
  void Stop();

 private:
  void Run(const std::function<void()>& callback);

  const HangUp hang_up_;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

}  // namespace sluice::ops
