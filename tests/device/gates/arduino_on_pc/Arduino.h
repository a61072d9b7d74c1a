// What a sketch uses of an Arduino, on a PC: its serial port is standard input and output, and its servo says on standard error where it is.
#pragma once
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <thread>
#include <unistd.h>

inline unsigned long millis() {
  using namespace std::chrono;
  static const auto began = steady_clock::now();
  return duration_cast<milliseconds>(steady_clock::now() - began).count();
}

struct SerialPort {
  int waiting = -1;
  void begin(long) { fcntl(0, F_SETFL, O_NONBLOCK); }
  int available() {
    unsigned char byte;
    if (waiting < 0 && ::read(0, &byte, 1) == 1) waiting = byte;
    return waiting >= 0;
  }
  int read() {
    int byte = waiting;
    waiting = -1;
    return byte;
  }
  void print(const char *text) { if (::write(1, text, strlen(text)) < 0) _exit(1); }
};
inline SerialPort Serial;
