#pragma once

#include <functional>
#include <thread>

namespace sluice::ops {

// SIGINT and SIGTERM as a call on an ordinary thread. Construct it before any other thread begins:
// threads started later inherit that the signals are blocked. SIGPIPE and SIGXFSZ are ignored from
// then on.
class SignalWaiter {
 public:
  SignalWaiter();
  ~SignalWaiter();
  SignalWaiter(const SignalWaiter&) = delete;
  SignalWaiter& operator=(const SignalWaiter&) = delete;

  // Calls `callback` once at the first of the signals; a second one ends the process at once.
  void OnSignal(std::function<void()> callback);
  // No callback is running or called any more when this returns.
  void Stop();
  // Blocks the caller until a signal comes.
  static void Wait();

 private:
  std::thread thread_;
};

}  // namespace sluice::ops
