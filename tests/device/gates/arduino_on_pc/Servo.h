#pragma once
#include "Arduino.h"

struct Servo {
  bool on = false;
  int last_us = 0;
  void attach(int) { on = true; }
  void detach() { on = false; fprintf(stderr, "off\n"); }
  bool attached() { return on; }
  void writeMicroseconds(int us) {
    if (us != last_us) fprintf(stderr, "%d\n", us);
    last_us = us;
  }
};
