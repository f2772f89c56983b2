#pragma once

#include <httplib.h>

#include <array>
#include <chrono>
#include <string>

namespace sluice::gateways {

// One connection as httplib reads and writes it, for all its requests: buffered both ways, so that
// an answer is one packet, with poll() so that descriptors above 1023 work. Not thread-safe.
class SocketStream final : public httplib::Stream {
 public:
  SocketStream(int fd, std::chrono::milliseconds read_timeout,
               std::chrono::milliseconds write_timeout)
      : fd_(fd), read_timeout_(read_timeout), write_timeout_(write_timeout) {}

  // True once there is something to read, false at the end, an error or the time-out.
  bool WaitForData(std::chrono::milliseconds timeout);
  // Sends what was written. False when the client is gone or too slow.
  bool Flush();
  // After an answer that leaves part of the request unread: lets the client read it before the
  // connection goes, by taking and dropping what still comes, within bounds.
  void Linger();

  bool is_readable() const override;
  bool is_writable() const override;
  ssize_t read(char* ptr, size_t size) override;
  ssize_t write(const char* ptr, size_t size) override;
  void get_remote_ip_and_port(std::string& ip, int& port) const override;
  void get_local_ip_and_port(std::string& ip, int& port) const override;
  // Not the real one: httplib compares it with FD_SETSIZE, which does not matter to poll().
  socket_t socket() const override { return 0; }

 private:
  bool Poll(short events, std::chrono::milliseconds timeout) const;

  const int fd_;
  const std::chrono::milliseconds read_timeout_;
  const std::chrono::milliseconds write_timeout_;
  std::array<char, 32 << 10> in_{};
  size_t in_begin_ = 0;
  size_t in_end_ = 0;
  std::string out_;
  bool failed_ = false;
};

}  // namespace sluice::gateways
