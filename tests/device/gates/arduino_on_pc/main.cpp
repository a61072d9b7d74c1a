#include "Arduino.h"
#include "sketch.cpp"

int main() {
  setup();
  while (true) {
    loop();
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}
