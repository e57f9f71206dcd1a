<#
.SYNOPSIS
Sends one request to a KMS e-mail gateway and waits for its answer.

.DESCRIPTION
Windows has no IMAP client of its own, and the SMTP client of .NET is no longer
maintained. So this needs MailKit from NuGet, and its dependencies MimeKit and
BouncyCastle.Cryptography, as DLLs in the directory -Libraries. The text of the
answer goes to the output, a key load file to the file that -Attachment names. The
exit code is 0 after Success, 1 after Error, and 3 if no answer came in time.

.EXAMPLE
./request.ps1 -Libraries C:\MailKit -Gateway gateway@kms.example.org `
    -Credential me@vendor.example -Smtp mail.vendor.example -Imap mail.vendor.example `
    -Service GetKlfStsEd2 -Body request.txt -Attachment klf.txt
#>
param(
    [Parameter(Mandatory)] [string] $Libraries,
    [Parameter(Mandatory)] [string] $Gateway,
    # Your address, which is the login. PowerShell asks for the password.
    [Parameter(Mandatory)] [pscredential] $Credential,
    [Parameter(Mandatory)] [string] $Smtp,
    [Parameter(Mandatory)] [string] $Imap,
    [Parameter(Mandatory)] [string] $Service,
    [string] $Body,
    [string] $Attachment,
    [int] $Wait = 3600,
    [int] $Pause = 10
)
$ErrorActionPreference = 'Stop'
foreach ($library in 'BouncyCastle.Cryptography', 'MimeKit', 'MailKit') {
    Add-Type -Path (Join-Path $Libraries "$library.dll")
}
$login = $Credential.GetNetworkCredential()
$address = $Credential.UserName

# The Subject of the answer repeats it.
$reference = [guid]::NewGuid().ToString('N')
$subject = "{KMS:$Service} $reference"

function Send-Request {
    $message = New-Object MimeKit.MimeMessage
    $message.From.Add([MimeKit.MailboxAddress]::Parse($address))
    $message.To.Add([MimeKit.MailboxAddress]::Parse($Gateway))
    $message.Subject = $subject
    $part = New-Object MimeKit.TextPart 'plain'
    $part.Text = if ($Body) { Get-Content -Raw -LiteralPath $Body } else { '' }
    $message.Body = $part
    $client = New-Object MailKit.Net.Smtp.SmtpClient
    try {
        $client.Connect($Smtp, 587, [MailKit.Security.SecureSocketOptions]::StartTls)
        $client.Authenticate($address, $login.Password)
        [void] $client.Send($message)
        $client.Disconnect($true)
    } finally {
        $client.Dispose()
    }
}

# Returns the mails in the inbox that answer this request, oldest first.
function Get-Answer {
    $client = New-Object MailKit.Net.Imap.ImapClient
    try {
        $client.Connect($Imap, 993, [MailKit.Security.SecureSocketOptions]::SslOnConnect)
        $client.Authenticate($address, $login.Password)
        [void] $client.Inbox.Open([MailKit.FolderAccess]::ReadOnly)
        $query = [MailKit.Search.SearchQuery]::SubjectContains($reference)
        foreach ($uid in $client.Inbox.Search($query)) {
            $mail = $client.Inbox.GetMessage($uid)
            if ($mail.Subject -ceq "Auto: $subject") { $mail }
        }
        $client.Disconnect($true)
    } finally {
        $client.Dispose()
    }
}

# Returns the elements of X-Gateway-Result: deletes line ends, splits at tabs.
function Get-Result($Mail) {
    $field = $Mail.Headers | Where-Object Field -EQ 'X-Gateway-Result' | Select-Object -First 1
    if (-not $field) { return @('') }
    $value = [Text.Encoding]::ASCII.GetString($field.RawValue) -replace '[\r\n]', ''
    $value.Trim(' ') -split "`t"
}

function Save-Attachment($Mail) {
    $path = $ExecutionContext.SessionState.Path.GetUnresolvedProviderPathFromPSPath($Attachment)
    foreach ($part in $Mail.Attachments) {
        $stream = [IO.File]::Create($path)
        try { $part.Content.DecodeTo($stream) } finally { $stream.Dispose() }
    }
}

Send-Request
$shown = @{}
$end = (Get-Date).AddSeconds($Wait)
while ((Get-Date) -lt $end) {
    foreach ($mail in @(Get-Answer)) {
        $kind, $elements = @(Get-Result $mail)
        switch ($kind) {
            'Success' {
                $mail.TextBody
                if ($Attachment) { Save-Attachment $mail }
                exit 0
            }
            'Error' {
                [Console]::Error.WriteLine($elements -join ': ')
                exit 1
            }
            'Notice' {
                if (-not $shown[$mail.MessageId]) { [Console]::Error.WriteLine($elements -join ': ') }
                $shown[$mail.MessageId] = $true
            }
        }
    }
    Start-Sleep -Seconds $Pause
}
[Console]::Error.WriteLine("no answer yet to ${subject}: it may still come")
exit 3
