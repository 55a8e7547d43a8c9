/* Another program that uses the same PIV card: connected all the time, logged in when it is told so.

   other_program READER PIN   a line "verify" on standard input verifies the PIN, "status" asks whether it is verified, "openpgp"
                              selects the OpenPGP application; each is answered by the status word, four hexadecimal digits. It
                              ends with its input, and leaves the card as it is. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <winscard.h>

static SCARDHANDLE card;
static SCARD_IO_REQUEST const *protocol;

static void must(LONG result, const char *what)
{
    if (result != SCARD_S_SUCCESS) {
        fprintf(stderr, "%s: %s\n", what, pcsc_stringify_error(result));
        exit(1);
    }
}

static unsigned transmit(const unsigned char *command, DWORD length)
{
    unsigned char response[258];
    DWORD got = sizeof response;

    must(SCardTransmit(card, protocol, command, length, NULL, response, &got), "SCardTransmit");
    if (got < 2)
        exit(1);
    return (unsigned)response[got - 2] << 8 | response[got - 1];
}

/* SELECT of the PIV application and one command, with nobody in between. */
static unsigned select_and(const unsigned char *command, DWORD length)
{
    static const unsigned char select[] = { 0x00, 0xA4, 0x04, 0x00, 0x05, 0xA0, 0x00, 0x00, 0x03, 0x08, 0x00 };
    unsigned status;

    must(SCardBeginTransaction(card), "SCardBeginTransaction");
    /* Selecting the application that is selected already would end its login. */
    status = transmit(command, length);
    if (status == 0x6D00 || status == 0x6A82) {
        transmit(select, sizeof select);
        status = transmit(command, length);
    }
    must(SCardEndTransaction(card, SCARD_LEAVE_CARD), "SCardEndTransaction");
    return status;
}

/* SELECT of the OpenPGP application, as programs for it leave the card. */
static unsigned select_openpgp(void)
{
    static const unsigned char select[] = { 0x00, 0xA4, 0x04, 0x00, 0x06, 0xD2, 0x76, 0x00, 0x01, 0x24, 0x01, 0x00 };
    unsigned status;

    must(SCardBeginTransaction(card), "SCardBeginTransaction");
    status = transmit(select, sizeof select);
    must(SCardEndTransaction(card, SCARD_LEAVE_CARD), "SCardEndTransaction");
    return status;
}

int main(int count, char **arguments)
{
    unsigned char verify[13] = { 0x00, 0x20, 0x00, 0x80, 8, 255, 255, 255, 255, 255, 255, 255, 255 };
    static const unsigned char status[] = { 0x00, 0x20, 0x00, 0x80 };
    SCARDCONTEXT context;
    DWORD active;
    char line[64];

    if (count != 3 || strlen(arguments[2]) > 8)
        return 2;
    memcpy(verify + 5, arguments[2], strlen(arguments[2]));
    must(SCardEstablishContext(SCARD_SCOPE_SYSTEM, NULL, NULL, &context), "SCardEstablishContext");
    must(SCardConnect(context, arguments[1], SCARD_SHARE_SHARED, SCARD_PROTOCOL_T0 | SCARD_PROTOCOL_T1, &card, &active),
         "SCardConnect");
    protocol = active == SCARD_PROTOCOL_T0 ? SCARD_PCI_T0 : SCARD_PCI_T1;
    while (fgets(line, sizeof line, stdin) != NULL) {
        if (strcmp(line, "openpgp\n") == 0)
            printf("%04X\n", select_openpgp());
        else if (strcmp(line, "verify\n") == 0)
            printf("%04X\n", select_and(verify, sizeof verify));
        else
            printf("%04X\n", select_and(status, sizeof status));
        fflush(stdout);
    }
    SCardDisconnect(card, SCARD_LEAVE_CARD);
    SCardReleaseContext(context);
    return 0;
}
